"""What `clipstream doctor` asks about web servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from pipeline.adapters.https.guard import Rule, is_public
from pipeline.adapters.https.policy import HttpsPolicy, is_pattern
from pipeline.adapters.https.resolver import Lookup
from pipeline.adapters.https.store import trusted
from pipeline.ports import Check, CheckResult


def check_hosts(
    policy: HttpsPolicy, *, lookup: Lookup = socket.getaddrinfo, rule: Rule = is_public
) -> Iterator[Check]:
    """Look up each host that is named, and judge its addresses. No image is read. Blocks.

    Raises:
        Halt: ``https.ca_file``: the file of certificate authorities cannot be read.
    """
    trusted(policy)
    for host in policy.allowed_hosts:
        yield _check(host, lookup, rule)


def _check(host: str, lookup: Lookup, rule: Rule) -> Check:
    subject = f"host {host}"
    if is_pattern(host):
        return Check(subject, CheckResult.WARNING, "a pattern: its hosts are not checked")
    try:
        found = lookup(host, 443, type=socket.SOCK_STREAM)
    except OSError as error:
        detail = error.strerror or error
        message = f"has no address ({detail}); check the name, and this machine's name server"
        return Check(subject, CheckResult.FAILED, message)
    addresses = [str(address[0]) for *_, address in found]
    private = sorted({address for address in addresses if not rule(address)})
    if len(private) == len(set(addresses)):
        message = (
            f"leads to {', '.join(private)}, which is not public, so nothing is read from it; "
            "serve the images at a public address"
        )
        return Check(subject, CheckResult.FAILED, message)
    if private:
        message = f"leads to {', '.join(private)} too, which is not public and is never dialled"
        return Check(subject, CheckResult.WARNING, message)
    return Check(subject, CheckResult.PASSED, "leads to public addresses")
