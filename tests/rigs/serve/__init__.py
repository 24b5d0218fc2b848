"""The application in process, without Ray. Read ``application`` first. ``console`` is the console's
API alone, on the topics of ``stream``, which are in memory.
"""
