"""What `monitoring/` is made with: rules from templates, dashboards from code, and promtool.

Read ``rules`` first: parameters → rules. ``promtool`` fetches the program that checks them, and
``expressions`` says what a query asks for. ``boards`` are the dashboards, and ``grafana`` makes
Grafana's JSON of them. ``pictures`` draws them from what a Prometheus answers. ``python -m
deploy.dev.monitoring`` renders the rules for parameters of your own.
"""
