"""Real services for tests, or servers that answer as a test says: Kafka, S3, Ray."""
