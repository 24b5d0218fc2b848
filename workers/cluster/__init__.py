"""Ray: workers as its actors, and the resources of a cluster and its nodes.

Read ``actors`` first. ``handle`` is the supervisor's view of one actor. ``start`` joins or starts
Ray. ``resources`` reads what the cluster has, ``reservation`` decides what a worker reserves, and
``fitting`` chooses defaults for a worker's node. ``drains`` learns which nodes go away.
``node_survey`` looks on every node for what a worker needs. ``heap`` tunes a worker's process.
``serving`` runs the HTTP application on Ray Serve.
"""
