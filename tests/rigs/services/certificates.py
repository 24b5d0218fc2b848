"""An authority of our own, and a server's certificate that it signed."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.dev.certificates import AUTHORITY, certificate, private_pem


def certified(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """The file of the authority, and the context of a server with these names or addresses."""
    signer, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    served = x509.SubjectAlternativeName([_general(name) for name in names])
    ca_file, leaf_file, key_file = (folder / name for name in ("ca.pem", "leaf.pem", "key.pem"))
    ca_file.write_bytes(certificate("ours", signer, "ours", signer, AUTHORITY, days=1))
    leaf_file.write_bytes(certificate("server", leaf, "ours", signer, served, days=1))
    key_file.write_bytes(private_pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf_file, key_file)
    return ca_file, context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
