"""`clipstream labels`: what label sets say, and what they would decide.

Read ``commands`` first: the list. ``check``, ``show``, ``diff`` and ``preview`` are one command
each; ``comparing`` does the work of the last two. ``finding`` finds a label set by its file, its
version or its name.
"""
