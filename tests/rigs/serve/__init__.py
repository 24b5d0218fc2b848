"""The application in process, without Ray. Read ``application`` first.

``listening`` puts the application on a port, for real clients. ``console_server`` is a server for
the console, ``scripted_api`` answers there for the stream as a test says, and ``scripted_classify``
for images. ``browser`` opens a page and hears its complaints.
"""
