"""What a request says, read within bounds. Read ``sources`` first: what a text names as an image.

``inputs`` reads what other services' clients write for texts and images, ``bodies`` reads JSON
bodies.
"""
