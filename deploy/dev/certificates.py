"""Certificates that an authority of our own signs, for development and tests."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)
"""What the certificate of an authority has."""

DAY = datetime.timedelta(days=1)


def certificate(
    subject: str,
    key: PrivateKey,
    issuer: str,
    signer: PrivateKey,
    extension: x509.ExtensionType,
    *,
    days: int,
) -> bytes:
    """PEM of a certificate that is valid for so many days, and was for the last one.

    ``subject`` and ``issuer`` are common names.
    """
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(extension, critical=True)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def private_pem(key: PrivateKey) -> bytes:
    """PEM of a private key, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
