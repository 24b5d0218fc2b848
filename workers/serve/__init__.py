"""The HTTP application. Knows no Ray: ``workers.cluster`` runs it on Ray Serve.

Read ``services`` first: what the application works with. ``wiring`` builds the services from
settings, ``app`` puts the application together. ``standing`` says whether it may be asked,
``caller`` who asks and what they may see, ``errors`` what is answered when something is wrong.
``reading`` reads what a request says.
``images`` looks at images, and ``looking`` at several of one request, and scores them.
``label_sets`` says which label sets score them, ``prompts`` embeds texts and compiles label sets of
a request, and ``recent`` keeps what was used last. ``publishing`` publishes what a request is
answered with. ``openapi`` has what routes share of their description. ``admission`` is what happens
before a request is read, ``routes`` has the routes by the client that they are for. ``live`` is the
console's API, ``console`` the page for people.
"""
