"""How Clipstream and the brokers prove who they are.

Read ``policy`` first: the settings. ``tls`` and ``oauth`` are made of them.
"""
