"""Events of images that came over HTTP. Read ``publisher``: it is all there is."""
