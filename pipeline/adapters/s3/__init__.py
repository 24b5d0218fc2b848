"""S3 and stores with its protocol, over obstore and boto3.

Read ``store`` first: it implements ``pipeline.ports.ObjectStore``. ``answers`` says what a store's
answer means for an image. ``odd_keys`` reads the few objects that obstore cannot name. ``policy``
has the settings and ``connection`` the credentials. ``admin`` lists and writes, for
commands. ``folder`` implements ``pipeline.ports.Folder``, and ``downloads`` copies
large objects into files. ``listing`` lists millions of objects with many requests at the same time:
``ranges`` says where they begin, and ``pages`` parses the answers.
"""
