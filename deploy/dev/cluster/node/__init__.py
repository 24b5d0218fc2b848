"""A real node on this machine: pods run, are probed, limited, drained and evicted.

Read ``kubelet`` first. It starts ``inside`` namespaces that take everything with them when they
end, plugs pods into a ``network`` of its own, and answers their ``dns`` questions. Pods run a thin
``image`` and the developer's ``mounted_code``. ``requirements`` says what a machine lacks, and
``probe`` whether its kernel lets a node run.
"""
