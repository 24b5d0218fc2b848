"""`clipstream verify`: one object goes the whole way, through topics and a group of its own.

Read ``run`` first: the steps. ``place`` is what is created for the time of the command, ``steps``
prints each step, and ``command`` has the options.
"""
