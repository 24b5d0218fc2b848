"""`clipstream labels diff` and `labels preview`: what label sets make of images, seen on a page.

Read ``diff`` first. ``sources`` reads recorded embeddings. ``preview`` embeds a folder of images.
``page`` writes reports.
"""
