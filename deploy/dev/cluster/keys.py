"""Keys and certificates of a cluster: an authority of its own, and what it has signed."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.dev import certificates

VALID_DAYS = 365

AUTHORITY = "authority.crt"


def write_keys(folder: Path) -> None:
    """Write the authority, a key for service accounts, and two clients' certificates: the API
    server's, by which the kubelet knows it, and the one by which extensions know it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_private(folder / "service-accounts.key", _key())
    signer, issuer = _key(), "clipstream-cluster"

    def write(file: str, subject: str, key: rsa.RSAPrivateKey, kind: x509.ExtensionType) -> None:
        signed = certificates.certificate(subject, key, issuer, signer, kind, days=VALID_DAYS)
        (folder / file).write_bytes(signed)

    write(AUTHORITY, issuer, signer, certificates.AUTHORITY)
    leaf = x509.BasicConstraints(ca=False, path_length=None)
    for client in ("kubelet-client", "front-proxy"):
        key = _key()
        _write_private(folder / f"{client}.key", key)
        write(f"{client}.crt", client, key, leaf)


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write_private(file: Path, key: rsa.RSAPrivateKey) -> None:
    file.touch(mode=0o600)
    file.write_bytes(certificates.private_pem(key))
