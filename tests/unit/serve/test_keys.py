"""Keys in force: who asks, until when, and how changes of the files take effect."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt
from pipeline.metrics import KEY_RELOADS, KEYS_REFUSED, SERVE_REPLICA
from workers.serve.admission.key_file import KeyEntry, contents, new_key, parsed
from workers.serve.admission.keys import Keys, require_keys
from workers.serve.admission.rates import Rate
from workers.serve.caller import Caller, Scope, require
from workers.serve.errors import ApiError
from workers.settings.serve import ServePolicy


class Bench:
    """Keys of a file, and a meter and a clock beside them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys"
        self.clock, self.meter = HandClock(), MemoryMeter(SERVE_REPLICA)
        self.lines: list[str] = []

    def add(self, name: str = "shop", **fields: object) -> str:
        key, key_id, hashed = new_key()
        entry = KeyEntry.model_validate({"id": key_id, "name": name, "sha256": hashed, **fields})
        self.lines.append(entry.line())
        self.file.write_text("# keys\n\n" + "".join(self.lines))
        return key

    def keys(self) -> Keys:
        return Keys(self.file, self.clock, self.meter)

    def reloads(self) -> tuple[float | None, float | None]:
        """Those that were loaded, and those that were refused."""
        value = self.meter.value
        return value(KEY_RELOADS, outcome="loaded"), value(KEY_RELOADS, outcome="refused")

    @property
    def refused(self) -> float | None:
        return self.meter.value(KEYS_REFUSED)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def refusal(keys: Keys, sent: str | None) -> str:
    with pytest.raises(ApiError) as refused:
        keys.caller(None if sent is None else sent.encode())
    assert refused.value.status == 401
    assert refused.value.headers()["www-authenticate"] == "Bearer"
    return refused.value.code


def test_a_key_has_an_id_and_43_characters() -> None:
    key, key_id, hashed = new_key()
    assert key.startswith(f"cs_{key_id}_")
    assert len(key.removeprefix(f"cs_{key_id}_")) == 43
    assert len(hashed) == 64
    assert new_key()[0] != key


def test_a_key_is_known_by_id_and_secret(bench: Bench) -> None:
    key, other = bench.add("shop"), bench.add("archive")
    keys = bench.keys()
    assert keys.caller(f"Bearer {key}".encode()).name == "shop"
    assert keys.caller(f"bearer  {other} ".encode()).name == "archive"
    swapped = key[:12] + other[12:]
    for wrong in (swapped, key[:-1], key + "x", "cs_00000000_" + key[12:], "cs_", "", "sk-abc"):
        assert refusal(keys, f"Bearer {wrong}") == "invalid_api_key"
    assert refusal(keys, f"Basic {key}") == "invalid_api_key"
    assert refusal(keys, "Bearer \xff") == "invalid_api_key"
    assert refusal(keys, None) == "missing_api_key"


def test_two_live_keys_of_a_name_work_side_by_side(bench: Bench) -> None:
    old, new = bench.add(), bench.add()
    keys = bench.keys()
    assert {keys.caller(f"Bearer {key}".encode()).name for key in (old, new)} == {"shop"}


def test_a_key_ends_with_the_clock_and_without_a_look(bench: Bench) -> None:
    end = datetime.fromtimestamp(bench.clock.now + 60, UTC)
    key = bench.add(expires=end.isoformat())
    keys = bench.keys()
    bench.clock.now += 59
    keys.caller(f"Bearer {key}".encode())
    bench.clock.now += 1
    assert refusal(keys, f"Bearer {key}") == "expired_api_key"
    assert refusal(keys, f"Bearer {key}x") == "invalid_api_key", "who guesses learns nothing"


def test_what_a_line_says_is_what_its_caller_may(bench: Bench) -> None:
    key = bench.add(
        images_per_s=5,
        burst=20,
        scopes=["classify", "live"],
        label_sets=["pets", "shop-*"],
        tenants=["acme"],
        objects=["photos", "scans/2026/", "raw/*.png"],
        ignore_text=True,
        priority="batch",
    )
    caller = bench.keys().caller(f"Bearer {key}".encode())
    assert caller.rate == Rate(5, 20)
    assert caller.scopes == {Scope.CLASSIFY, Scope.LIVE}
    assert caller.level == 1
    assert caller.ignore_text
    assert [caller.may_use(each) for each in ("pets", "shop-a", "pets2", "x")] == [1, 1, 0, 0]
    assert [caller.may_see_tenant(each) for each in ("acme", "other", None)] == [1, 0, 0]
    seen = [("photos", "a/b"), ("scans", "2026/x"), ("raw", "a/b.png")]
    hidden = [("photos2", "a"), ("scans", "2025/x"), ("scans", "2026"), ("raw", "b.jpg")]
    assert all(caller.may_see(*each) for each in seen)
    assert not any(caller.may_see(*each) for each in hidden)


def test_a_new_key_may_classify_and_use_all(bench: Bench) -> None:
    key = bench.add()
    caller = bench.keys().caller(f"Bearer {key}".encode())
    assert caller.scopes == {Scope.CLASSIFY}
    assert caller.may_use("anything")
    assert caller.may_see("any", "thing")
    assert caller.may_see_tenant(None)
    assert (caller.rate, caller.level, caller.ignore_text) == (None, 0, False)


def test_a_pattern_of_a_bucket_shows_nothing_of_a_host_of_that_name(bench: Bench) -> None:
    key = bench.add(objects=["cdn.example.com", "https://img.example.com/2026/"])
    caller = bench.keys().caller(f"Bearer {key}".encode())
    assert caller.may_see("cdn.example.com", "a.jpg")
    assert not caller.may_see("cdn.example.com", "a.jpg", "https")
    assert caller.may_see("img.example.com", "2026/a.jpg", "https")
    assert not caller.may_see("img.example.com", "2025/a.jpg", "https")
    assert not caller.may_see("img.example.com", "2026/a.jpg")


def test_patterns_know_no_other_sign_than_the_star() -> None:
    caller = Caller("a", frozenset(), objects=("b[1]?/a.b*",))
    assert caller.may_see("b[1]?", "a.bc\n")
    assert not caller.may_see("b1x", "a.b")
    assert not caller.may_see("b[1]?", "axb")


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_what_it_names_and_nothing_else(scope: Scope) -> None:
    caller = Caller("shop", frozenset({scope}))
    require(caller, scope)
    for other in set(Scope) - {scope}:
        with pytest.raises(ApiError, match=f"lacks the scope '{other.value}'") as refused:
            require(caller, other)
        assert (refused.value.status, refused.value.code) == (403, "scope_missing")


# -- changes --------------------------------------------------------------------------------------


def test_a_key_that_is_added_works_and_one_that_is_revoked_does_not_after_a_look(
    bench: Bench,
) -> None:
    old = bench.add()
    keys = bench.keys()
    keys.look()
    assert bench.reloads() == (0, 0), "nothing changed"
    bench.lines.clear()
    new = bench.add()
    keys.caller(f"Bearer {old}".encode())
    keys.look()
    assert refusal(keys, f"Bearer {old}") == "invalid_api_key"
    keys.caller(f"Bearer {new}".encode())
    assert bench.reloads() == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",  # as an editor leaves it between two writes
        "{",
        '{"id": "abcdef", "name": "a"}',
        '{"id": "abcdef", "name": "a b", "sha256": "' + "0" * 64 + '"}',
        '{"id": "abcdef", "name": "a", "sha256": "' + "0" * 64 + '", "burst": 3}',
        '{"id": "abcdef", "name": "a", "sha256": "' + "0" * 64 + '", "colour": 3}',
        '{"id": "abcdef", "name": "a", "sha256": "' + "0" * 64 + '", "expires": "2026-01-01"}',
    ],
)
def test_a_file_that_is_not_valid_changes_nothing_and_is_told_once(
    text: str, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    key = bench.add()
    keys = bench.keys()
    bench.file.write_text(text)
    keys.look()
    keys.look()
    keys.caller(f"Bearer {key}".encode())
    assert bench.reloads() == (0, 1)
    assert bench.refused == 1
    (record,) = caplog.records
    assert str(bench.file) in record.getMessage()
    bench.add()
    keys.look()
    assert bench.reloads() == (1, 1)
    assert bench.refused == 0


def test_a_file_that_is_as_it_was_before_the_refusal_is_refused_no_longer(bench: Bench) -> None:
    bench.add()
    keys = bench.keys()
    good = bench.file.read_text()
    for text, refused in (("{", 1), (good, 0), ("{", 1)):
        bench.file.write_text(text)
        keys.look()
        assert bench.refused == refused
    assert bench.reloads() == (0, 2)


def test_a_file_that_is_gone_changes_nothing(bench: Bench) -> None:
    key = bench.add()
    keys = bench.keys()
    bench.file.unlink()
    keys.look()
    keys.caller(f"Bearer {key}".encode())
    assert bench.reloads() == (0, 1)


def test_a_problem_is_named_by_file_and_line_and_shows_no_value(bench: Bench) -> None:
    bench.add()
    bench.file.write_text(bench.file.read_text() + '{"id": "abcdef", "sha256": "secret"}\n')
    with pytest.raises(Halt) as invalid:
        bench.keys()
    assert invalid.value.code == "keys.invalid"
    assert f"{bench.file}:4: sha256" in invalid.value.message
    assert "secret" not in invalid.value.message


def test_an_id_that_stands_twice_is_a_problem(bench: Bench) -> None:
    bench.add()
    bench.file.write_text(2 * bench.file.read_text())
    with pytest.raises(Halt, match="stands there twice"):
        bench.keys()


def test_a_folder_as_kubernetes_mounts_a_secret_is_read_and_followed(tmp_path: Path) -> None:
    """Files are links into ``..data``, itself a link to a folder that is replaced as a whole."""
    source, mount = Bench(tmp_path), tmp_path / "mount"
    first, second = mount / "..2026_1", mount / "..2026_2"
    first.mkdir(parents=True)
    second.mkdir()
    old, new = source.add("a"), source.add("b")
    (first / "a").write_text(source.lines[0])
    (second / "a").write_text(source.lines[1])
    (mount / "..data").symlink_to(first.name)
    (mount / "a").symlink_to("..data/a")
    (mount / "a folder").mkdir()
    keys = Keys(mount, source.clock, source.meter)
    assert keys.caller(f"Bearer {old}".encode()).name == "a"

    (mount / "..data2").symlink_to(second.name)
    os.replace(mount / "..data2", mount / "..data")  # noqa: PTH105 - as the kubelet does
    keys.look()

    assert keys.caller(f"Bearer {new}".encode()).name == "b"
    assert refusal(keys, f"Bearer {old}") == "invalid_api_key"


def test_a_folder_without_a_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Halt, match="has no file"):
        contents(tmp_path)


def test_a_file_with_a_comment_alone_has_no_key(tmp_path: Path) -> None:
    assert parsed([(tmp_path, b"# all keys were revoked\n")]) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_without_keys_a_loopback_address_may_be_listened_on(host: str) -> None:
    require_keys(ServePolicy(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org"])
def test_any_other_address_demands_keys(host: str, tmp_path: Path) -> None:
    with pytest.raises(Halt) as refused:
        require_keys(ServePolicy(host=host))
    assert refused.value.code == "serve.no_keys"
    (tmp_path / "keys").write_text("# none yet\n")
    require_keys(ServePolicy(host=host, keys=tmp_path))


def test_keys_that_cannot_be_read_are_found_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(Halt) as refused:
        require_keys(ServePolicy(keys=tmp_path / "nothing"))
    assert refused.value.code == "keys.invalid"
