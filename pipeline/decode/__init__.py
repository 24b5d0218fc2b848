"""What decoding may do and what it makes, without a library.

Read ``policy`` first: the settings. ``crop`` is the part of an image that a model looks at,
``signatures`` what a file is by its first bytes, ``codings`` what a store says of its encoding,
``good_images`` a good image of each format.
"""
