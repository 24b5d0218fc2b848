"""Events of requests. Read ``records``: what is published, and that it comes before the answer."""
