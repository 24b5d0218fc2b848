"""The TLS context of Kafka's connections, made from files that may be missing or wrong."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import Halt

SECTION = "kafka.security"


def tls_context(
    *,
    ca_file: str | None,
    certificate_file: str | None,
    key_file: str | None,
    key_password: str | None,
    ciphers: str | None,
    check_hostname: bool,
) -> ssl.SSLContext:
    """A context that always checks the broker's certificate. Made here because kafka-python
    documents ssl_ciphers but never applies it (B27).

    Raises:
        Halt: ``settings.invalid``: a file cannot be read or has the wrong contents, or there is no
            such cipher.
    """
    for name, file in (
        ("ca_file", ca_file),
        ("certificate_file", certificate_file),
        ("key_file", key_file),
    ):
        _check_readable(name, file)
    with _refused("ca_file", f"{ca_file} holds no certificates in PEM; name a file that does"):
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = check_hostname
    if ciphers:
        with _refused("ciphers", f"{ciphers!r} names no cipher; see `openssl ciphers -s -tls1_2`"):
            context.set_ciphers(ciphers)
    if certificate_file:
        advice = (
            f"{certificate_file} and {key_file} are no certificate and its key in PEM, or "
            "key_password does not open the key; check all three"
        )
        with _refused("certificate_file", advice):
            # Never None: OpenSSL would ask for the password on the terminal.
            context.load_cert_chain(certificate_file, key_file, key_password or "")
    return context


def _check_readable(name: str, file: str | None) -> None:
    if file is None:
        return
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise Halt(
            "settings.invalid",
            f"{SECTION}.{name}: {file} cannot be read ({error.strerror}); check the path and its "
            "permissions",
        ) from error


@contextmanager
def _refused(name: str, advice: str) -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError) as error:  # ValueError: a password too long for OpenSSL
        reason = getattr(error, "reason", None) or type(error).__name__
        raise Halt("settings.invalid", f"{SECTION}.{name}: {advice} ({reason})") from error
