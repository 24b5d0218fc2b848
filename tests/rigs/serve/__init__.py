"""The application in process, without Ray. Read ``application`` first.

``listening`` puts the application on a port, for real clients. ``console`` is the console's API
alone, on the topics of ``stream``, which are in memory. ``published`` publishes the same outcomes
on a real Kafka. ``asgi`` is a gate before an application of the test, driven message by message.
``parity`` compares what the stream and the application say of the same images.
``console_server`` is a server for the console's page, ``scripted_api`` answers there for the stream
as a test says, ``outcomes`` makes what it tells, and ``browser`` opens the page and hears its
complaints. ``on_ray`` runs the command on a real Ray Serve, ``steered`` with an encoder that a test
steers, beside an ``other_app``.
"""
