"""The generated files of the Helm chart: what its values may be, their page, and copies of the
monitoring.

Read ``values`` first: it reads values.yaml with its comments. ``schema`` and ``readme`` render it,
``copies`` names the files of monitoring/ that the chart carries.
"""
