"""Lists of known pictures are read from their files, or refused with what to write instead."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters import known_files
from pipeline.adapters.known_files import fingerprint, kinds, load_known
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt
from pipeline.records import ImageFacts, Looked
from pipeline.records.known import PdqHash
from pipeline.records.views import LookedViews, View

LEAKED, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"leaked", b"other"))
HEADER = "name: leaked\nkind: sha256\naction: block\nentries: leaked.txt\n"


def write(folder: Path, header: str = HEADER, entries: str | None = None) -> Path:
    path = folder / "leaked.yaml"
    path.write_text(header)
    text = f"# of 2026\n{LEAKED}  # the first\n\n{OTHER}\n" if entries is None else entries
    (folder / "leaked.txt").write_text(text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(Halt) as halt:
        load_known([path])
    assert halt.value.code == "known.invalid"
    return halt.value.message


def test_a_list_has_the_files_of_its_entries_and_no_other(tmp_path: Path) -> None:
    lists = load_known([write(tmp_path)])
    (match,) = lists.by_file(OTHER)
    assert (match.known_list, match.kind, match.action, match.entry) == (
        "leaked",
        "sha256",
        "block",
        2,
    )
    assert match.version == lists.versions["leaked"]
    assert lists.by_file(hashlib.sha256(b"new").hexdigest()) == ()


def test_a_folder_stands_for_its_headers(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(load_known([tmp_path]).versions) == ["leaked"]


def test_the_version_is_of_what_the_list_means(tmp_path: Path) -> None:
    before = load_known([write(tmp_path)]).versions
    same = f"{LEAKED.upper()}\n{OTHER}  # known since May\n"
    assert load_known([write(tmp_path, entries=same)]).versions == before
    assert load_known([write(tmp_path, HEADER.replace("block", "review"))]).versions != before
    assert load_known([write(tmp_path, entries=f"{OTHER}\n{LEAKED}\n")]).versions != before


@pytest.mark.parametrize(
    ("header", "entries", "said"),
    [
        ("", None, "is empty; write a mapping with name, kind"),
        (HEADER.replace("action: block\n", ""), None, "action is missing; write it"),
        (HEADER.replace("action", "actoin"), None, "unknown key; did you mean action?"),
        (HEADER.replace("sha256", "md5"), None, "leaked.yaml:2: kind: 'md5' is unknown; write sha"),
        (HEADER.replace("leaked\n", "le aked\n", 1), None, "'le aked' is no name; write 1 to 64"),
        (HEADER.replace("leaked.txt", "gone.txt"), None, "gone.txt: cannot be read (No such file"),
        (HEADER, "# nothing\n", "no entry; write one hash a line"),
        (HEADER, f"{LEAKED}\n{OTHER[:-1]}\n", "leaked.txt:2: 63 characters, not 64 hexadecimal"),
        (HEADER, f"{LEAKED}\nz{OTHER[1:]}\n", "is not hexadecimal; write the digits"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, header: str, entries: str | None, said: str
) -> None:
    assert said in refused(write(tmp_path, header, entries))


def test_two_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "again.yaml").write_text(HEADER)
    with pytest.raises(Halt, match="'leaked' is the name of another list too; rename one"):
        load_known([path, tmp_path / "again.yaml"])


def test_a_change_of_entries_is_seen_without_reading_them(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = fingerprint([path])
    assert fingerprint([path]) == before
    entries = tmp_path / "leaked.txt"
    replaced = tmp_path / "new.txt"
    replaced.write_text(entries.read_text())
    os.utime(replaced, ns=(0, 0))
    replaced.rename(entries)
    assert fingerprint([path]) != before


MODEL = MemoryEncoder(dimension=4).model
VECTORS = np.eye(3, 4, dtype=np.float32)
EMBEDDED = (
    "name: near\nkind: embedding\naction: review\nentries: near.npy\nmin_cosine: 0.9\n"
    f"model: {{name: {MODEL.name}, revision: '{MODEL.revision}'}}\n"
)


def embedded(folder: Path, vectors: npt.NDArray[Any] = VECTORS, header: str = EMBEDDED) -> Path:
    np.save(folder / "near.npy", vectors)
    path = folder / "near.yaml"
    path.write_text(header)
    return path


def looked(*values: float, views: list[list[float]] | None = None) -> Looked:
    seen = None
    if views is not None:
        place = View("centre", 0, 0, 0, 1, 1)
        seen = LookedViews((place,) * len(views), np.array(views, np.float32))
    facts = ImageFacts("PNG", 1, 1, 1, 0.0)
    vector = np.array(values, np.float32)
    return Looked(vector, MODEL, facts, LEAKED, 1, "strict", "transformers", seen)


def test_an_embedding_is_in_a_list_by_its_cosine(tmp_path: Path) -> None:
    lists = load_known([embedded(tmp_path)], MODEL)
    (match,) = lists.by_embedding(looked(0.28, 0.96, 0, 0))
    assert (match.kind, match.entry, match.action) == ("embedding", 2, "review")
    assert match.cosine == pytest.approx(0.96)
    assert lists.by_embedding(looked(0.6, 0.8, 0, 0)) == ()
    assert lists.by_file(LEAKED) == ()


def test_the_nearest_of_several_views_counts(tmp_path: Path) -> None:
    lists = load_known([embedded(tmp_path)], MODEL)
    views = [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.96, 0.28], [0.0, 0.0, 1.0, 0.0]]
    (match,) = lists.by_embedding(looked(*views[0], views=views))
    assert (match.entry, match.cosine) == (3, 1.0)


@pytest.mark.parametrize(
    ("vectors", "header", "said"),
    [
        (VECTORS, EMBEDDED.replace("memory", "clip"), "are of clip at revision 1, and memory at"),
        (VECTORS, EMBEDDED.replace("min_cosine: 0.9\n", ""), "min_cosine is missing; say how near"),
        (VECTORS, EMBEDDED.partition("model")[0], "model is missing; embeddings of another model"),
        (VECTORS, EMBEDDED.replace("0.9", "1.5"), "min_cosine: is the number 1.5; write"),
        (VECTORS, EMBEDDED.replace("revision", "version"), "model.version: unknown key; did you"),
        (VECTORS, EMBEDDED + "max_distance: 3\n", "max_distance: means nothing for the kind emb"),
        (np.eye(3, 5, dtype=np.float32), EMBEDDED, "embeddings of 5 elements, and memory has 4"),
        (np.zeros((2, 4), np.float32), EMBEDDED, "row 1 is no direction; remove it"),
        (np.full((2, 4), np.nan, np.float32), EMBEDDED, "row 1 is no direction; remove it"),
        (np.eye(3, 4, dtype=np.int64), EMBEDDED, "an array of int64 with the shape (3, 4)"),
        (np.ones(4, np.float32), EMBEDDED, "an array of float32 with the shape (4,)"),
    ],
)
def test_what_is_wrong_with_embeddings_is_said(
    tmp_path: Path, vectors: npt.NDArray[Any], header: str, said: str
) -> None:
    with pytest.raises(Halt) as halt:
        load_known([embedded(tmp_path, vectors, header)], MODEL)
    assert said in halt.value.message


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    path = embedded(tmp_path)
    (tmp_path / "near.npy").write_text("0.1 0.2")
    with pytest.raises(Halt, match=r"cannot be read as \.npy"):
        load_known([path], MODEL)


def test_too_many_embeddings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "MAX_VECTORS", 2)
    with pytest.raises(Halt, match="3 entries against 2; thin the list"):
        load_known([embedded(tmp_path)], MODEL)


PDQ = HEADER.replace("sha256", "pdq")


def test_a_picture_is_in_a_list_by_the_bits_that_differ(tmp_path: Path) -> None:
    path = write(tmp_path, PDQ + "max_distance: 2\n")
    lists = load_known([path])
    hash_ = bytes.fromhex(OTHER)
    two = bytes([hash_[0] ^ 3, *hash_[1:]])
    (match,) = lists.by_picture(PdqHash(two, 50))
    assert (match.kind, match.entry, match.distance) == ("pdq", 2, 2)
    three = bytes([hash_[0] ^ 7, *hash_[1:]])
    assert lists.by_picture(PdqHash(three, 100)) == ()
    assert kinds([path]) == {"pdq"}


def test_a_picture_of_low_quality_is_in_no_list(tmp_path: Path) -> None:
    lists = load_known([write(tmp_path, PDQ)])
    assert lists.by_picture(PdqHash(bytes.fromhex(OTHER), 49)) == ()
    assert lists.by_picture(None) == ()
    assert len(lists.by_picture(PdqHash(bytes.fromhex(OTHER), 50))) == 1


def test_a_distance_that_no_search_reaches_is_refused(tmp_path: Path) -> None:
    assert "write a number of bits from 0 to 31" in refused(
        write(tmp_path, PDQ + "max_distance: 32\n")
    )
