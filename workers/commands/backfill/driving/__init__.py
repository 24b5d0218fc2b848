"""What the driver of a backfill does at every look at its workers.

Read ``running`` first: it puts everything together, and ``watch`` is what happens at a look.
``orders`` follows what a person and the stream ask for, and ``sizing`` says how many workers are
wanted. ``telling`` tells how far the job is: ``view`` to a person, ``gauges`` to Prometheus.
``errands`` asks the store and the brokers in other threads, so that a slow answer delays nobody.
``gate`` says whether a job may begin, and ``ending`` closes one that is complete.
"""
