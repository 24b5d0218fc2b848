"""What Prometheus and Kubernetes ask over HTTP.

Read ``policy`` first. ``identity`` says which worker an endpoint belongs to. ``worker`` serves one
worker's metrics, and ``discovery`` lists it in a file of its host. ``driver`` answers probes, and
serves the series of all workers, which ``fleet`` collects.
"""
