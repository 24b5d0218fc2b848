"""CLIP checkpoints over PyTorch.

Read ``encoder`` first: it implements ``pipeline.ports.Encoder``. ``checkpoint`` finds the files, at
the hub or in a directory. ``model``, ``config``, ``tokenizer`` and ``weights`` read and check them.
Both towers consist of ``layers``. Images go through ``vision``, and prompts through ``text_tower``,
whose embeddings ``text_cache`` keeps on disk. ``watched`` reports how long a call has taken.
``policy`` has the settings.
"""
