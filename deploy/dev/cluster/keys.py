"""Keys and certificates of a cluster: an authority of its own, and what it has signed."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

VALID = datetime.timedelta(days=365)

AUTHORITY = "authority.crt"


def write_keys(folder: Path) -> None:
    """Write the authority, a key for service accounts, and two clients' certificates: the API
    server's, by which the kubelet knows it, and the one by which extensions know it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_private(folder / "service-accounts.key", _key())
    signer, name = _key(), _name("clipstream-cluster")
    ca = x509.BasicConstraints(ca=True, path_length=None)
    (folder / AUTHORITY).write_bytes(_certificate(name, signer, name, signer, ca))
    leaf = x509.BasicConstraints(ca=False, path_length=None)
    for client in ("kubelet-client", "front-proxy"):
        key = _key()
        _write_private(folder / f"{client}.key", key)
        (folder / f"{client}.crt").write_bytes(_certificate(_name(client), key, name, signer, leaf))


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer: x509.Name,
    signer: rsa.RSAPrivateKey,
    constraints: x509.BasicConstraints,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALID)
        .add_extension(constraints, critical=True)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def _write_private(file: Path, key: rsa.RSAPrivateKey) -> None:
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
