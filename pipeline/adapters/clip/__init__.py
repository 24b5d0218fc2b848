"""CLIP checkpoints over PyTorch and transformers.

Read ``encoder`` first: it implements ``pipeline.ports.Encoder``. ``checkpoint`` finds the files, at
the hub or in a directory. ``model`` and ``tokenizer`` read and check them. Images go through
``vision``, and prompts through the text tower, whose embeddings ``text_cache`` keeps on disk.
``watched`` reports how long a call has taken. ``policy`` has the settings.
"""
