"""Ray Serve: the HTTP application in replicas, on the cluster of the driver.

Read ``application`` first: what the driver does with the application. ``replica`` runs in each
replica: one model behind HTTP. ``board`` is where replicas and the driver tell each other how they
are. ``watch`` decides what the driver makes of it, ``view`` shows it to the console, and ``places``
finds the replicas' metrics.
``environment`` is what Ray Serve reads when it is imported.
"""
