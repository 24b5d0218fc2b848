"""An authority of our own, and a server's certificate that it signed."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certified(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """The file of the authority, and the context of a server with these names or addresses."""
    signer, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signer_name, leaf_name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("ours", "server")
    )
    signed: list[tuple[x509.Name, ec.EllipticCurvePrivateKey, x509.ExtensionType]] = [
        (signer_name, signer, x509.BasicConstraints(ca=True, path_length=None)),
        (leaf_name, leaf, x509.SubjectAlternativeName([_general(name) for name in names])),
    ]
    now = datetime.datetime.now(datetime.UTC)
    certificates = [
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer_name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=True)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        for name, private, extension in signed
    ]
    ca_file, leaf_file, key_file = (folder / name for name in ("ca.pem", "leaf.pem", "key.pem"))
    ca_file.write_bytes(certificates[0])
    leaf_file.write_bytes(certificates[1])
    key_file.write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf_file, key_file)
    return ca_file, context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
