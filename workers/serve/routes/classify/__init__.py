"""``POST /v1/classify``: images and label sets in; scores, decisions and facts out.

Read ``asked`` first: what a request may ask. ``bodies`` reads it from each form of a request,
``answer`` says what is answered, and ``route`` puts the three together. ``described`` is the
route's page of the OpenAPI document.
"""

from workers.serve.routes.classify.route import classify

__all__ = ["classify"]
