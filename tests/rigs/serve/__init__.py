"""The application in process, without Ray. Read ``application`` first.

``listening`` puts the application on a port, for real clients.
"""
