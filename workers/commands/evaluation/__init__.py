"""What `clipstream labels test`, `labels tune` and `evaluate` share.

Read ``embedding`` first: a sample's images become embeddings, by the stages of the workers.
``scoring`` scores them with a label set. ``pictures`` shows some of them, ``page`` writes reports.
"""
