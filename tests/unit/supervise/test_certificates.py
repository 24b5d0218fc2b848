"""When the certificates that the settings name expire, as Prometheus is told."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.adapters.certificates import expiries
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.metrics import CERTIFICATE_EXPIRY, DRIVER_METRICS
from workers.settings.loading import Settings, load_settings
from workers.supervise.certificates import Certificates, certificate_files

NEXT_YEAR = datetime.datetime(2027, 3, 1, 12, 30, 15, tzinfo=datetime.UTC)
LATER = datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
FAR = datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC)
"""From 2050 on a certificate has its times in another form."""


def pem(ends: datetime.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clipstream " * 5)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(ends)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def settings_with(**flags: str) -> Settings:
    return load_settings(flags={"s3.allowed_buckets": ["images"], **flags}, environment={})


def told(meter: MemoryMeter) -> dict[str, float | None]:
    return {
        labels["setting"]: meter.value(CERTIFICATE_EXPIRY, **labels)
        for labels in meter.labels(CERTIFICATE_EXPIRY)
    }


@pytest.mark.parametrize("ends", [(NEXT_YEAR,), (LATER, FAR), (FAR, NEXT_YEAR, LATER), ()], ids=len)
def test_every_certificate_of_a_file_is_found(
    ends: Sequence[datetime.datetime], tmp_path: Path
) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes(b"# a comment, in \xc3\xbc\n" + b"\n".join(pem(each) for each in ends))
    assert expiries(file) == [each.timestamp() for each in ends]


@pytest.mark.parametrize("cut", [1, 40, 90])
def test_a_damaged_certificate_is_refused(tmp_path: Path, cut: int) -> None:
    lines = pem(NEXT_YEAR).decode().splitlines()
    file = tmp_path / "damaged.pem"
    damaged = "".join(lines[1:-1])[cut * 4 :]
    file.write_text("\n".join([lines[0], damaged, lines[-1]]))
    with pytest.raises(ValueError, match="damaged"):
        expiries(file)


def test_a_chain_ends_with_its_first_certificate_and_a_bundle_with_its_last(tmp_path: Path) -> None:
    chain, bundle = tmp_path / "chain.pem", tmp_path / "bundle.pem"
    for file in (chain, bundle):
        file.write_bytes(pem(LATER) + pem(NEXT_YEAR))
    settings = settings_with(**{"s3.ca_file": str(bundle), "https.ca_file": str(bundle)})
    security = settings.kafka.security.model_copy(
        update={"certificate_file": str(chain), "ca_file": str(bundle)}
    )
    kafka = settings.kafka.model_copy(update={"security": security})
    settings = settings.model_copy(update={"kafka": kafka})
    meter = MemoryMeter(DRIVER_METRICS)
    certificates = Certificates(settings, meter)
    certificates.close()
    assert told(meter) == {
        "kafka.security.certificate_file": NEXT_YEAR.timestamp(),
        "kafka.security.ca_file": LATER.timestamp(),
        "s3.ca_file": LATER.timestamp(),
        "https.ca_file": LATER.timestamp(),
    }


def test_a_renewed_file_is_told_at_the_next_look_and_a_lost_one_no_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(pem(NEXT_YEAR))
    meter = MemoryMeter(DRIVER_METRICS)
    certificates = Certificates(settings_with(**{"s3.ca_file": str(file)}), meter)
    file.write_bytes(pem(LATER))
    certificates.look()
    assert told(meter) == {"s3.ca_file": LATER.timestamp()}
    file.unlink()
    with caplog.at_level(logging.WARNING):
        certificates.look()
    certificates.close()
    assert told(meter) == {}
    assert "s3.ca_file" in caplog.text


def test_settings_without_certificates_are_not_watched() -> None:
    settings = settings_with()
    assert certificate_files(settings) == {}
    meter = MemoryMeter(DRIVER_METRICS)
    Certificates(settings, meter).close()
    assert told(meter) == {}
