"""Adapters without a world: deterministic stand-ins under the same contracts as the real ones."""
