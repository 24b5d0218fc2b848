"""The embedded default: a real Apache Kafka, an S3 server and a tiny CLIP, started by a command."""
