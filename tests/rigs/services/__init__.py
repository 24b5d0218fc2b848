"""Real services for tests, or servers that answer as a test says.

Read ``kafka_deployment`` first: topics and a group on a real Kafka. ``broker_settings`` sets up its
brokers, and ``secured_kafka`` is one with passwords. ``object_store`` fills a store and reads from
it, ``scripted_s3`` is an S3 server whose answers a test scripts, ``listing_server`` one that lists
any number of keys, and ``web_server`` one over TLS, with ``certificates`` of an authority of our
own. ``api_server`` answers as Kubernetes does. ``ray_nodes`` is a Ray cluster of several nodes on
one machine. ``prometheus`` scrapes and evaluates every second, and ``panels`` asks it for what the
dashboards show. ``otlp_receiver`` takes traces. ``model_hub`` has one model.
"""
