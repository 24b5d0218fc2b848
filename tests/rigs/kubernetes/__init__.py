"""Clusters for tests: a namespace a test, pods that satisfy PodSecurity `restricted`.

Read ``namespaces`` first: where a test's objects live, and what is kept of them when it fails.
``pods`` describes pods and runs them to their end. ``stream`` is work for a release of the chart:
topics, images, settings; ``judged`` counts its outcomes in the end. ``release`` installs the chart,
and ``spoilt`` has values with which no pod works. ``service_clients`` asks a Service's pods as the
network of a cluster would. ``gpus`` counts the pods that hold GPUs at a time. ``results`` writes
what tests on demand have measured. ``traces`` finds what a cluster has left behind. ``argo_cd``
judges objects as Argo CD does.
The clusters themselves are in ``deploy/dev/cluster``; the fixtures that start them are in
``tests/component/kubernetes/conftest.py``.
"""
