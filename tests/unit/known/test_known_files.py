"""Lists of known pictures are read from their files, or refused with what to write instead."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.adapters.known_files import fingerprint, load_known
from pipeline.errors import Halt

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
