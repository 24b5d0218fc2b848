"""Settings of the brokers that tests start."""

IMPATIENT_BROKER = {
    "group.min.session.timeout.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    "quota.window.num": "2",
}
"""Members and transactions may have time limits so short that tests can wait for them, and a quota
looks back for two seconds, not for eleven."""
