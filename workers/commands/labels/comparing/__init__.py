"""What label sets make of images, for `clipstream labels diff` and `labels preview`.

Read ``diffing`` first: two label sets on recorded embeddings, which ``sources`` reads, or on
results that were ``published``. ``previewing`` embeds a folder of images. The templates of their
pages are in the folder ``pages``.
"""

from pathlib import Path

PAGES = Path(__file__).with_name("pages")
