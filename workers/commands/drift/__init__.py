"""`clipstream drift …`: whether images still are like those of a reference.

Read ``commands`` first: what a person types. ``measuring`` reads recorded embeddings, and scores
them.
"""
