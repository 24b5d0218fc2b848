"""Label sets and what they make of an embedding.

Read ``label_set`` first (what one says), then ``scoring`` (the maths). ``parsing`` reads one from
plain data, which ``written`` takes key by key. ``prompts`` checks prompts by the tokenizer,
``remembered`` keeps embeddings of prompts that come with requests.
"""
