"""When outcomes of a stream may be committed: pure state machines, without I/O, time or threads.

``window`` says which offsets may be committed, and with which outcomes, which are ``settled``.
``budget`` says how much of a stream may go to the dead letters before somebody must look.
"""
