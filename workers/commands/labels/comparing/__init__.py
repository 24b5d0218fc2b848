"""What label sets make of images, for `clipstream labels diff` and `labels preview`.

Read ``diffing`` first: two label sets on recorded embeddings, which ``sources`` reads, or on
results that were ``published``. ``previewing`` embeds a folder of images. ``page`` writes reports.
"""
