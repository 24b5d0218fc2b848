"""The console: one page for people, served at ``/``.

Read ``pages`` first: the routes of the page's files. The page itself is ``static/``: modules of
JavaScript that a browser reads as they are, without a build. ``static/app.js`` is where they begin.
"""
