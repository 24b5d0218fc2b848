"""The HTTP application. Knows no Ray: ``workers.cluster`` runs it on Ray Serve.

Read ``services`` first: what the application works with. ``wiring`` builds the services from
settings, ``app`` puts the application together. ``caller`` says who asks and what they may see,
``errors`` what is answered when something is wrong. ``sources`` reads what a request names as an
image, ``images`` looks at images, ``prompts`` embeds texts and makes label sets of a request.
``records`` publishes what a request is answered with. ``admission`` is what happens before a
request is read, ``routes`` has the routes by the client that they are for.
"""
