"""When outcomes of a stream may be committed: pure state machines, without I/O, time or threads.

Read ``window`` first: it says which offsets may be committed, and with which ``settled`` outcomes.
``order`` says which of the finished ones.
``budget`` says how much of a stream may go to the dead letters before somebody must look.
"""
