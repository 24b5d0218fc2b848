"""The routes. Read ``classify`` first: the service's own. ``health`` answers probes.

``embeddings``, ``moderations`` and ``models`` are OpenAI's, as other services' clients call them.
``huggingface`` has those of Hugging Face's client.
"""
