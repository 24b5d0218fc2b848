"""The application in process, without Ray. Read ``application`` first.

``listening`` puts the application on a port, for real clients. ``console`` is the console's API
alone, on the topics of ``stream``, which are in memory. ``asgi`` is a gate before an application of
the test, driven message by message.
"""
