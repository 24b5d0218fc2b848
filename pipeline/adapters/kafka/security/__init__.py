"""How Clipstream and the brokers prove who they are: ``policy`` is the settings, ``tls`` and
``oauth`` are made of them."""
