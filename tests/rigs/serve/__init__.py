"""The application in process, without Ray. Read ``application`` first. ``asgi`` is a gate before an
application of the test, driven message by message."""
