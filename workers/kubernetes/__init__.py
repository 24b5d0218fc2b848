"""What the driver asks Kubernetes about itself: whether its pod was scaled in.

Read ``stateful_set`` first. ``policy`` has the settings, and ``api`` asks the API server.
"""
