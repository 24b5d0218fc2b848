"""The application in process, without Ray. Read ``application`` first.

``listening`` puts the application on a port, for real clients. ``console`` is the console's API
alone, on the topics of ``stream``, which are in memory. ``published`` publishes the same outcomes
on a real Kafka. ``asgi`` is a gate before an application of the test, driven message by message.
``parity`` compares what the stream and the application say of the same images.
``console_server`` is a server for the console's page, ``scripted_api`` answers there for the stream
as a test says, and ``browser`` opens the page and hears its complaints.
``outcomes`` has outcomes and dead letters as that API tells them.

``on_ray`` is the command as a process on a real Ray Serve, ``steered`` the program that it runs,
with an encoder that waits or fails as a test says, and ``other_app`` another application there.
"""
