"""The console's API: what a person sees of the stream and of the server.

Read ``live`` first: what the routes work with. ``topics`` is the protocol of what is read of Kafka.
``outcome`` makes an outcome of a published record, and says what a key may see of it. ``fanout``
hands outcomes to those who look, ``watch`` reads them while somebody looks. ``letters`` surveys
dead letters, ``replays`` sends them back. ``pictures`` makes images for people. ``cluster`` tells
about replicas and workers. ``routes`` has the routes.
"""
