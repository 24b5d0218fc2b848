"""A real Apache Kafka and an S3 server on loopback, for the demo, for tests and for development.
Whoever starts them stops them.

Read ``kafka`` first: it runs the ``jars`` on a Java of its own. ``s3`` runs moto, which needs only
Python. ``processes`` owns child processes, ``signals`` ends a command in order, ``cache`` keeps
downloads.
"""
