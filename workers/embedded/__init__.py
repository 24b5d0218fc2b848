"""A real Apache Kafka and an S3 server, started on loopback and stopped by whoever started them:
for the demo, for tests and for development.

Read ``kafka`` first: it runs the ``jars`` on a Java of its own. ``s3`` runs moto, which needs
Python alone. ``processes`` owns children, ``signals`` ends a command in order, ``cache`` keeps what
was fetched.
"""
