"""Ray: workers as its actors, and what a cluster and its nodes have.

Read ``actors`` first. ``start`` joins or starts Ray, ``resources`` says what the cluster has,
``reservation`` what a worker asks of it and ``fitting`` which defaults suit what it was given.
``node`` names a machine, ``drains`` learns which ones go away. ``node_checks`` looks whether a node
has what a worker needs, ``node_survey`` asks all nodes. ``heap`` tunes a worker's process.
"""
