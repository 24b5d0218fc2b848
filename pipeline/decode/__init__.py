"""Rules and facts of decoding, without a library.

Read ``policy`` first: the settings. ``crop`` computes the part of an image that a model sees, and
``views`` the further parts that it may see. ``signatures`` recognises a file by its first bytes,
``codings`` reads an object's Content-Encoding, ``good_images`` has a good image of each format.
"""
