"""Jobs of backfills for tests. ``written`` writes what workers have committed."""
