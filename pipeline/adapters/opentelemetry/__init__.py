"""Traces of images, sent as OpenTelemetry's spans. The libraries are an optional extra.

Read ``tracer`` first: which spans an image and a commit have. ``exporting`` sends them, as the
standard variables say, and ``policy`` has the setting that turns this on.
"""
