"""Ray: workers as its actors, and what a cluster and its nodes have.

Read ``actors`` first. ``start`` joins or starts Ray, ``resources`` says what the cluster has,
``reservation`` what a worker asks of it and ``fitting`` which defaults suit what it was given.
``drains`` learns which nodes go away. ``node_survey`` looks on every node for what a worker needs.
``heap`` tunes a worker's process.
"""
