"""`clipstream demo`: generated images, a tiny CLIP, the real stream worker, and a report."""
