"""The application in process, without Ray. Read ``application`` first. ``parity`` compares what the
stream and the application say of the same images."""
