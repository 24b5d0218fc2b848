"""The supervisor: keeps as many workers as are wanted, and knows nothing of Ray.

Read ``supervisor`` first. It watches one ``slot`` a worker, asks ``scaling`` how many are wanted
and ``idle`` whether a job has ended. ``trouble`` says why a place stays empty, ``crashes`` counts,
and ``standing`` is one look at all places, for probes and messages. ``reminder`` says when to
repeat one. ``node`` names a machine.
"""
