"""Whether the images of today still are like those of a reference.

Read ``reference`` first: what a reference file says. ``distance`` has the arithmetic of bins.
``collecting`` makes the reference of a label set from recorded results, and ``watching`` counts the
results of a worker in its bins. Alerts compare the counts of all workers with the reference:
monitoring/rules/workers.yaml.
"""
