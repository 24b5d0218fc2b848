"""What `clipstream labels test`, `labels tune` and `evaluate` share.

Read ``embedding`` first: a sample's images become embeddings, by the stages of the workers.
``scoring`` scores them with a label set, and ``evaluating`` ranks classes without one. ``pictures``
shows some of the images, ``page`` writes reports from the templates in the folder ``pages``, and
``telling`` has what tables at a terminal look like. ``options`` are those of the commands.
"""
