"""The application in process, without Ray. Read ``application`` first."""
