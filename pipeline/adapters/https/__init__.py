"""Images on web servers, over https and aiohttp.

Read ``store`` first: it implements ``pipeline.ports.ObjectStore``. ``guard`` says which addresses a
connection may be opened to, and ``resolver`` asks for the addresses of a host. ``answers`` says
what a server's answer means for an image. ``policy`` has the settings. ``doctor`` tries the hosts.
"""
