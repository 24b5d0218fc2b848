"""Lists of known pictures, and which of them have an image.

Read ``lists`` first: a list, and all lists in force. ``digests`` finds the exact bytes, ``hamming``
nearly equal PDQ hashes, and ``cosines`` nearly equal embeddings; each looks at few of a million
entries. ``parsing`` reads the header of a list from plain data, and ``policy`` is their settings.
"""
