"""The JSON values of the published events, field by field with their meanings.

Read ``outcomes`` first: classifications, and what other values have of them.
``dead_references`` has the values of dead letters.
``served`` has those of images that came over HTTP, ``actions`` those of actions, reviews and
removals, and ``label_sets`` that of a recorded label set.
"""
