"""What a file is told to be by its first bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from PIL.features import check

from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.decode.signatures import FORMATS, UNKNOWN, advice, recognise

DEFAULTS = ("JPEG", "PNG")


def box(name: bytes, brand: bytes, *compatible: bytes) -> bytes:
    content = brand + bytes(4) + b"".join(compatible)
    return (len(content) + 8).to_bytes(4, "big") + name + content + bytes(40)


FILES = {
    "HEIF": [box(b"ftyp", b"heic", b"mif1", b"heic"), box(b"ftyp", b"mif1", b"heic")],
    "AVIF": [box(b"ftyp", b"avif", b"mif1"), box(b"ftyp", b"mif1", b"miaf", b"avif")],
    "MP4": [box(b"ftyp", b"isom", b"avc1"), box(b"ftyp", b"mp42"), box(b"ftyp", b"3gp5")],
    "MOV": [box(b"ftyp", b"qt  "), b"\0\0\0\x08wide\0\0\x10\0mdat"],
    "camera raw": [box(b"ftyp", b"crx "), b"FUJIFILMCCD-RAW 0201FF383501"],
    "WebM": [
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"
    ],
    "Matroska": [b"\x1a\x45\xdf\xa3\x9fB\x82\x88matroska"],
    "AVI": [b"RIFF\x24\0\0\0AVI LIST"],
    "WEBP": [b"RIFF\x24\0\0\0WEBPVP8 "],
    "SVG": [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by a program -->\n<svg/>",
        b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN'><svg/>",
    ],
    "HTML": [b"<!DOCTYPE html><html>", b"\n\n<html><body>403", b"<!doctype HTML>"],
    "XML": [b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"],
    "JSON": [b'{"error": "not found"}'],
    "text": [b"Not found\n", "naïve".encode() * 900],
    "data URL": [b"data:image/png;base64,iVBORw0KGgo="],
    "JPEG XL": [b"\xff\x0a\xfa\x7f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0\x2f"],
    "PSD": [b"8BPS\0\1"],
    "PDF": [b"%PDF-1.7\n"],
    "PostScript": [b"%!PS-Adobe-3.0 EPSF-3.0"],
    "ICO": [b"\0\0\1\0\1\0\x10\x10"],
    "ZIP": [b"PK\3\4\x14\0"],
    "gzip": [b"\x1f\x8b\x08\0"],
    "Zstandard": [b"\x28\xb5\x2f\xfd\x24"],
    "DICOM": [bytes(128) + b"DICM"],
    UNKNOWN: [b"", b"\0", bytes(200), b"\xfe\xfe\xfe\xfe", b"RIFF\0\0\0\0XXXX", b"\xc3\x28" * 9],
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_recognised_by_its_first_bytes(name: str) -> None:
    assert [recognise(body) for body in FILES[name]] == [name] * len(FILES[name])


@pytest.mark.parametrize(("name", "body"), GOOD_IMAGES.items())
def test_every_format_that_can_be_decoded_is_recognised(name: str, body: bytes) -> None:
    assert recognise(body) == name


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"])
def test_what_pillow_takes_for_a_format_is_recognised_as_it(file_format: str) -> None:
    assert check("avif")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, file_format)
    body = file.getvalue()
    assert recognise(body) == file_format
    accepts = Image.OPEN[file_format][1]
    assert accepts is not None
    assert accepts(body[:16]) is True


def test_the_images_of_the_collection_are_recognised() -> None:
    data = os.environ.get("CLIPSTREAM_TEST_DATA")
    names = {
        "avif": {"AVIF", "HEIF"},
        "bmp": {"BMP", UNKNOWN},
        "gif": {"GIF", UNKNOWN},
        "jpg": {"JPEG"},
        "png": {"PNG", UNKNOWN},
        "tif": {"TIFF"},
        "webp": {"WEBP", UNKNOWN},
    }
    files = sorted(Path(data, "odd-images").iterdir()) if data else []
    for path in files:
        expected = names.get(path.suffix[1:])
        if expected is not None:
            assert recognise(path.read_bytes()) in expected, path.name


def test_the_advice_names_the_format_and_what_to_install_or_set() -> None:
    assert advice("HEIF", DEFAULTS) == (
        "the file is HEIF, which is none of decode.formats (JPEG, PNG); install clipstream[heif] "
        "and add HEIF to decode.formats if you trust its decoder"
    )
    assert "add TIFF to decode.formats" in advice("TIFF", DEFAULTS)
    assert "Content-Encoding" in advice("gzip", DEFAULTS)
    for name in FORMATS:
        said = advice(name, DEFAULTS)
        assert said.startswith("the file is ")
        assert len(said.partition("; ")[2]) > 10, name


def test_the_names_are_a_closed_set_that_fits_a_byte() -> None:
    assert len(set(FORMATS)) == len(FORMATS) < 256
    assert set(FILES) <= set(FORMATS)
