"""Has pydantic read the descriptions of a typed dictionary once, not once an application.

Before Python 3.13, it parses the dictionary's whole module each time: two thirds of the time of
tests that build applications.
"""

from __future__ import annotations

import functools

from pydantic._internal import _docs_extraction, _generate_schema

_NAME = "extract_docstrings_from_cls"

if not hasattr(_generate_schema, _NAME):
    raise ImportError("pydantic reads descriptions elsewhere now: remove this module, or mend it")

vars(_generate_schema)[_NAME] = functools.cache(_docs_extraction.extract_docstrings_from_cls)
