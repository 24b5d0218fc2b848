"""Adapters without a world: deterministic stand-ins under the same contracts as the real ones.

``store``, ``stream`` and ``encoder`` each implement the port of that name. Read ``store`` first.
"""
