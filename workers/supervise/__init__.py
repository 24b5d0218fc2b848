"""The supervisor: keeps the wanted number of workers running. It knows nothing of Ray.

Read ``supervisor`` first. It watches one ``slot`` for each worker, asks ``scaling`` how many
workers are wanted and ``idle`` whether a job has ended. ``trouble`` says why a place stays empty.
``crashes`` counts crashes. ``standing`` is one look at all places, for probes and messages.
``reminder`` says when to repeat a message. ``node`` names a machine. ``certificates`` shows
when the driver's certificates expire.
"""
