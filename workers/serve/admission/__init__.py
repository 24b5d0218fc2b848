"""What happens to a request before a route reads it. Read ``gate`` first.

``internal_headers`` drops what no client may send. ``families`` says what routes ask of requests.
``keys`` finds who sent a request, by the hashed keys of a ``key_file``; ``rates`` bounds a key's
images a second. ``memory`` bounds bytes, ``room`` bounds images, and ``shares`` divides places
fairly among keys. ``body`` reads a body, ``answer`` is the answer under way, ``access`` tells of
requests that are over. ``asgi`` has the words of the protocol.
"""
