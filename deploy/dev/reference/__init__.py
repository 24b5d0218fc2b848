"""The generated pages of docs/reference and docs/schemas, rendered from what they document.

Read ``pages`` first: which pages there are. ``settings``, ``cli``, ``events`` and ``columns``
render one each, with the tables of ``markdown``; ``event_parts`` renders the parts of ``events``,
whose examples are made of ``event_examples`` and ``label_set``. ``chart`` writes what is generated
of the Helm chart.
"""
