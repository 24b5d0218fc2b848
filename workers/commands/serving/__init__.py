"""`clipstream serve`: the driver of the HTTP application.

Read ``serve`` first: it starts Ray Serve, watches the replicas and ends them in order. ``beside``
runs the stream's workers with it, and ``sample`` draws the image that it is tried with.
"""
