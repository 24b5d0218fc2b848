"""S3 and what speaks its protocol, over obstore and boto3.

Read ``store`` first: it implements ``pipeline.ports.ObjectStore``. ``answers`` says what a store's
answer means for an image. ``odd_keys`` reads the few objects that obstore cannot name. ``policy``
is the settings and ``connection`` the credentials. ``admin`` lists and writes, for commands.
"""
