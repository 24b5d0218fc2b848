"""Ray: workers as its actors, and the resources of a cluster and its nodes.

Read ``actors`` first. ``start`` joins or starts Ray. ``resources`` reads what the cluster has,
``reservation`` decides what a worker reserves, and ``fitting`` chooses defaults for a worker's
node. ``node`` names a machine. ``drains`` learns which nodes go away. ``node_checks`` checks
whether a node has what a worker needs, and ``node_survey`` asks all nodes. ``heap`` tunes a
worker's process.
"""
