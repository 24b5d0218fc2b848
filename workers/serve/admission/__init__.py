"""What happens to a request before a route reads it. Read ``gate`` first.

``memory`` bounds bytes, ``room`` bounds images.
"""
