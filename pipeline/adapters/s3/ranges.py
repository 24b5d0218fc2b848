"""Ranges of a listing: which parts of the keys are left, and where another request may begin.

Ranges always cover every key that is left, whatever the keys are: a split point is only a guess
where half of them lie. No I/O. Not thread-safe.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import lt

PAGE_KEYS = 1_000
"""Most keys that S3 puts into a page."""

_LEAST_PAGES = 2
"""A range that seems to have fewer pages left is not split."""

_DIGITS = 12
"""Characters after the common beginning of two keys that a point between them may have."""

_END = "\U0010ffff"
"""Stands for the end of all keys where numbers are computed. Never part of a point."""

_MAX_KEY_BYTES = 1_024

_NUMBERS = "0123456789"
_LETTERS = ("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_PLACES = 64
"""Characters of a key, after the prefix, that are looked at."""

_MANY_KEYS = 1e12
"""Density where a page did not move far enough to tell it."""


class UnsortedError(Exception):
    """The store does not list keys in the order of their UTF-8 bytes, or lists other keys than it
    was asked for."""


@dataclass(eq=False, slots=True)
class Range:
    """The keys after ``at``, up to ``until`` inclusive; without ``until`` up to the last one. One
    thread lists it from the front, while others may split off its end."""

    at: str
    until: str | None
    first: str | None = None
    """The first key that was found in it."""
    keys: int = 0
    """How many keys were found in it so far."""
    complete: bool = False


class Ranges:
    """The ranges of one listing."""

    def __init__(self, prefix: str, page_keys: int = PAGE_KEYS) -> None:
        """``page_keys`` is the most keys that a page holds."""
        self._prefix = prefix
        self._least_keys = _LEAST_PAGES * page_keys
        self.first = Range("", None)
        self._open = [self.first]
        self._pending: list[str] = []
        self._hints: list[str] = []
        self._seen: dict[int, set[str]] = {}
        """The characters that keys were seen to have at a place."""
        self._alphabets: dict[int, str] = {}
        """The characters that keys are likely to have at a place, sorted."""

    @property
    def complete(self) -> bool:
        return not self._open and not self._pending

    def hint(self, points: Sequence[str]) -> None:
        """Points that divide keys well: the beginnings of keys that share a folder."""
        self._hints = sorted({*self._hints, *points})

    def advance(self, part: Range, keys: Sequence[str], *, last: bool) -> int:
        """Take a page of keys that follows the range's ``at``. ``last``: none follows it. Returns
        how many of the keys, from the first on, belong to the range.

        Raises:
            UnsortedError
        """
        if keys:
            self._check(part.at, keys)
            self._learn(keys)
        count = len(keys) if part.until is None else bisect_right(keys, part.until)
        if count:
            part.first = part.first or keys[0]
            part.keys += count
            part.at = keys[count - 1]
        if last or count < len(keys) or part.at == part.until:
            part.complete = True
            self._open.remove(part)
        return count

    def point(self) -> str | None:
        """Where another request may begin, so that it finds half of the longest range. None if no
        range is worth it. Each point must be answered by ``probed``."""
        gaps: list[tuple[int, float, str, str]] = []
        for part in self._open:
            if part.first is None:
                continue
            end = part.until or self._prefix + _END
            within = self._pending[bisect_right(self._pending, part.at) :]
            within = within[: bisect_left(within, end)]
            density = self._density(part, part.first, end)
            for low, high in pairwise((part.at, *within, end)):
                hints = bisect_left(self._hints, high) - bisect_right(self._hints, low)
                likely = density * self._share(part.first, end, low, high)
                if hints or likely >= self._least_keys:
                    gaps.append((hints, likely, low, high))
        for hints, _, low, high in sorted(gaps, reverse=True):
            if hints:
                chosen = self._hints[bisect_right(self._hints, low) + hints // 2]
            elif (between := self._between(low, high)) is not None:
                chosen = between
            else:
                continue
            insort(self._pending, chosen)
            return chosen
        return None

    def probed(self, point: str, *, found: bool) -> Range | None:
        """Tell whether a request that began after the point found any key. Returns the range that
        begins there, for whoever asked. None if the request came too late, or found none."""
        self._pending.remove(point)
        part = next(
            (
                each
                for each in self._open
                if each.at < point and (each.until is None or point < each.until)
            ),
            None,
        )
        if part is None:
            return None
        until, part.until = part.until, point
        if not found:
            return None
        rest = Range(point, until)
        self._open.append(rest)
        return rest

    # -- inside -----------------------------------------------------------------------------

    def _check(self, after: str, keys: Sequence[str]) -> None:
        ordered = keys[0] > after and all(map(lt, keys, keys[1:]))
        if not ordered or not (
            keys[0].startswith(self._prefix) and keys[-1].startswith(self._prefix)
        ):
            raise UnsortedError

    def _learn(self, keys: Sequence[str]) -> None:
        """Note which characters keys have where. A few keys of a page say nearly all of it."""
        begin = len(self._prefix)
        news = False
        for key in (*keys[:: max(1, len(keys) // 12)], keys[-1]):
            for place, character in enumerate(key[begin : begin + _PLACES], begin):
                seen = self._seen.setdefault(place, set())
                if character not in seen and character.isprintable():
                    seen.add(character)
                    news = True
        if news:
            self._guess()

    def _guess(self) -> None:
        """Say which characters are likely. Where there is a number, there are other numbers, and
        letters too if keys mix them elsewhere, as hashes do. Where there are two letters, there are
        others."""
        guesses: dict[int, set[str]] = {}
        mixed: set[str] = set()
        for place, seen in self._seen.items():
            guess = guesses[place] = set(seen)
            has_numbers = not seen.isdisjoint(_NUMBERS)
            if has_numbers:
                guess.update(_NUMBERS)
            for letters in _LETTERS:
                if len(seen.intersection(letters)) > 1:
                    guess.update(letters)
                    if has_numbers:
                        mixed |= seen
        for place, guess in guesses.items():
            if "0" in guess:
                guess |= mixed
            self._alphabets[place] = "".join(sorted(guess))

    def _density(self, part: Range, first: str, end: str) -> float:
        """Keys by share of the way from the range's first key to its end."""
        way = self._share(first, end, first, part.at)
        return part.keys / way if way > 0 else _MANY_KEYS

    def _share(self, first: str, end: str, low: str, high: str) -> float:
        """The share of the way from ``first`` to ``end`` that lies between ``low`` and ``high``."""
        begin = _common(first, end)
        whole = self._number(end, begin) - self._number(first, begin)
        part = self._number(high, begin) - self._number(low, begin)
        return part / whole if whole > 0 else 0.0

    def _between(self, low: str, high: str) -> str | None:
        """A point in the middle of two keys, as far as the keys seen so far tell."""
        begin = _common(low, high)
        if high[begin:] == _END and (point := self._after_alike(low, begin)) is not None:
            return point
        middle = (self._number(low, begin) + self._number(high, begin)) // 2
        digits = []
        for place in range(begin + _DIGITS - 1, begin - 1, -1):
            alphabet = self._alphabets.get(place, "")
            middle, digit = divmod(middle, len(alphabet) + 2)
            digits.append((digit, alphabet))
        text = ""
        for digit, alphabet in reversed(digits):
            if digit == 0 or not alphabet:
                break
            if digit > len(alphabet):
                text += _following(alphabet[-1])
                break
            text += alphabet[digit - 1]
        point = low[:begin] + text
        if not low < point < high:
            point = low[:begin] + _character_between(low[begin : begin + 1], high[begin])
        if not low < point < high or len(point.encode()) > _MAX_KEY_BYTES:
            return None
        return point

    def _after_alike(self, key: str, begin: int) -> str | None:
        """The point after all keys that begin as this one does, as far as all keys seen so far
        begin alike. None if they do not."""
        place = begin
        while place < len(key) and self._alphabets.get(place, "") == key[place]:
            place += 1
        if place == begin:
            return None
        following = _following(key[place - 1])
        return key[: place - 1] + following if following else None

    def _number(self, key: str, begin: int) -> int:
        """The key's characters from ``begin`` on as a number, so that keys in order are numbers in
        order. 0 at a place is the key's end."""
        number = 0
        for place in range(begin, begin + _DIGITS):
            alphabet = self._alphabets.get(place, "")
            digit = 0
            if place < len(key):
                # A character that was never seen counts as the next higher one.
                digit = bisect_left(alphabet, key[place]) + 1
            number = number * (len(alphabet) + 2) + digit
            if place < len(key) and not (
                digit <= len(alphabet) and alphabet[digit - 1] == key[place]
            ):
                # What follows would count below such a character.
                return number * self._base(place + 1, begin + _DIGITS)
        return number

    def _base(self, place: int, end: int) -> int:
        product = 1
        for each in range(place, end):
            product *= len(self._alphabets.get(each, "")) + 2
        return product


def _common(one: str, other: str) -> int:
    """Length of the common beginning."""
    length = min(len(one), len(other))
    for place in range(length):
        if one[place] != other[place]:
            return place
    return length


def _following(character: str) -> str:
    """The next character by number; empty if requests should not have it."""
    following = chr(min(ord(character) + 1, ord(_END)))
    return following if following.isprintable() else ""


def _character_between(low: str, high: str) -> str:
    """A character in the middle of two, by their numbers; ``high`` if there is none."""
    middle = (ord(low) if low else 0x1F) + ord(high) + 1 >> 1
    character = chr(middle)
    return character if character.isprintable() else high
