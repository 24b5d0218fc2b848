"""What `monitoring/` is made with: rules from templates, dashboards from code, and promtool.

Read ``rules`` first: parameters → rules. ``promtool`` fetches the program that checks them, and
``expressions`` says what a query asks for. ``python -m deploy.dev.monitoring`` renders the rules
for parameters of your own.
"""
