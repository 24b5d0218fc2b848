"""A Kubernetes cluster on a developer's machine and in CI: no Docker, no container registry.

Read ``clusters`` first: what a simulated and a real cluster consist of. ``control_plane`` starts
Kubernetes' own servers, with ``keys``; ``operators`` start beside them, and ``keda`` beside a
cluster that runs. ``simulation`` lets kwok play nodes, the room ``node`` is a real one.
``supplies`` are what a release of the chart needs.
``programs`` says which versions are built, ``build`` builds them. ``kubectl`` and ``processes`` are
used by all.
"""
