"""What was published, read again; and the topic that keeps label sets.

Read ``topic`` first: a topic's records, from one offset to another. ``label_sets`` publishes label
sets and reads them back. ``events`` finds classifications and embeddings again.
"""
