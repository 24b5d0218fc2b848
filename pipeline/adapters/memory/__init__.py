"""Adapters without a world: deterministic stand-ins under the same contracts as the real ones
(``tests/contract/``). ``clock`` and ``meter`` are those to test with: time moves by hand, and what
was measured can be read. Where code needs the time of its event loop, see
``tests/rigs/virtual_time.py``.

Read ``store`` first. ``stream`` and ``encoder`` implement the ports of those names.
"""
