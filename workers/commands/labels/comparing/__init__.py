"""What label sets make of images, for `clipstream labels diff` and `labels preview`.

Read ``diffing`` first: two label sets on recorded embeddings, which ``sources`` reads.
``previewing`` embeds a folder of images. ``page`` writes reports.
"""
