"""What an object's Content-Encoding asks to be undone."""

from __future__ import annotations

import pytest

from pipeline.decode.codings import CODINGS, codings_of
from pipeline.errors import Reject


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        (None, ()),
        ("", ()),
        ("identity", ()),
        ("gzip", ("gzip",)),
        ("GZIP", ("gzip",)),
        ("x-gzip", ("gzip",)),
        ("aws-chunked", ()),
        ("aws-chunked,gzip", ("gzip",)),
        ("gzip, aws-chunked", ("gzip",)),
        ("deflate , br,\tzstd", ("deflate", "br", "zstd")),
        ("gzip, gzip", ("gzip", "gzip")),
        ("utf-8", ()),
        ("base64", ()),
        ("image/jpeg", ()),
    ],
)
def test_codings_come_in_the_order_in_which_they_were_applied(
    header: str | None, codings: tuple[str, ...]
) -> None:
    assert codings_of(header) == codings
    assert set(codings) <= set(CODINGS)


@pytest.mark.parametrize(
    "header", ["compress", "gzip, lzma", "exi", "dcb", "gzip;q=1", "\x1b" * 999]
)
def test_an_unknown_coding_is_refused_by_its_name(header: str) -> None:
    with pytest.raises(Reject) as caught:
        codings_of(header)
    assert caught.value.code == "decode.unsupported_encoding"
    assert repr(header.split(",")[-1].strip()[:40]) in caught.value.message
    assert caught.value.message.isprintable()


def test_more_codings_than_an_honest_object_has_are_refused() -> None:
    assert len(codings_of("gzip,gzip,gzip,gzip")) == 4
    with pytest.raises(Reject, match=r"decode\.unsupported_encoding.*names 5 codings"):
        codings_of("gzip,gzip,gzip,gzip,gzip")
