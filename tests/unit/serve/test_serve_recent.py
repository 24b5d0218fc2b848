"""What was used last is kept, up to a weight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.serve.recent import Recent


def test_what_was_not_used_for_longest_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (1, None, 3)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12))))
def test_what_is_kept_never_weighs_more_than_the_bound(puts: list[tuple[int, int]]) -> None:
    recent: Recent[int, int] = Recent(10, lambda value: value)
    latest: dict[int, int] = {}
    for key, value in puts:
        recent.put(key, value)
        latest[key] = value
        kept = {key: recent.get(key) for key in latest if recent.get(key) is not None}
        assert recent.weight == sum(latest[key] for key in kept) <= 10
        assert len(recent) == len(kept)
        assert all(latest[key] == kept[key] for key in kept)
        if value <= 10:
            assert recent.get(key) == value
