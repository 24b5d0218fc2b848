"""Adapters in memory: deterministic stand-ins under the same contracts as the real adapters
(``tests/contract/``).

Read ``store`` first. ``stream``, ``encoder`` and ``folder`` implement the ports of those names.
``clock`` and ``meter`` are meant for tests: time is moved by hand, and measured values can be read.
For code that needs the time of its event loop, see ``tests/rigs/virtual_time.py``.
"""
