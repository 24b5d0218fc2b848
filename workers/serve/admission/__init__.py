"""What happens to a request before a route reads it. Read ``gate`` first.

``internal_headers`` drops what a client could tell Ray Serve. ``memory`` bounds bytes, ``room``
bounds images.
"""
