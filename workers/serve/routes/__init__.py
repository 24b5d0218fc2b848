"""The routes. Read ``classify`` first: the service's own. ``health`` answers probes."""
