"""Jobs of backfills for tests. Read ``written``: it writes what workers have committed."""
