"""Compare what a notebook cell prints with what is stored, number by number.

The rule is that of pytest's doctest option ``NUMBER``: a decimal is compared to the digits that
are stored, one unit in the last place. Text and integers are compared exactly; runs of spaces
count as one, because the width of a column follows its numbers. A cell whose output depends on
training may declare in its metadata how far other processors may lie::

    tolerance={"decimals": 0.03, "effect": 0.12}
    tolerance={"decimals": 0.02, "relative": 0.1, "integers": 2, "effect": 0.5}

``decimals`` and ``relative`` add up, as in ``numpy.isclose``. ``effect`` is the smallest difference
that the text around the cell reads from it: a tolerance wider than that would make the text false
on another processor, so it is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(
    r"""(?:(?<![\w.\])])[+\-−])?        # a sign, unless it joins two words: 3-5, top-5, 2021-09
        (?<![\w.])
        (?:\d{1,3}(?:,\d{3})+(?![\d,])  # 5,528
           |\d+)?
        (?:(?<=\d)\.(?!\d*\.\d)\d*      # 0.45, not the version 2.13.0
           |(?<![\d.])\.\d+)?
        (?:(?<=[\d.])[eE][+-]?\d+(?!\w))?""",
    re.VERBOSE,
)
NOT_FINITE = re.compile(r"(?<![\w])[+\-−]?(?:nan|NaN|inf|None|NaT|<NA>)(?!\w)")
COMPARED = ("text/plain", "text/html", "text/markdown", "text/latex", "application/json")
KEYS = {"decimals", "integers", "relative", "effect"}


class ToleranceError(ValueError):
    """A cell declares a tolerance that cannot be meant."""


@dataclass(frozen=True)
class Tolerance:
    """How far a trained result may lie on another processor: what a cell's metadata declares."""

    decimals: float = 0.0
    integers: float = 0.0
    relative: float = 0.0
    effect: float = float("inf")

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Tolerance | None:
        """Return the tolerance of a cell, or None where none is declared.

        Raises:
            ToleranceError: An unknown key, no number, nothing allowed, or more than the effect.
        """
        declared = metadata.get("tolerance")
        if declared is None:
            return None
        if not isinstance(declared, Mapping) or not set(declared) <= KEYS:
            raise ToleranceError(f"tolerance: got {declared!r}, allowed: a dict of {sorted(KEYS)}")
        if any(isinstance(x, bool) or not isinstance(x, int | float) for x in declared.values()):
            raise ToleranceError(f"tolerance: got {declared!r}, allowed: numbers")
        made = cls(**declared)
        made.check()
        return made

    def check(self) -> None:
        """Raise `ToleranceError` unless something is allowed, and less than the text claims."""
        sizes = (self.decimals, self.integers, self.relative)
        if not all(0 <= x < float("inf") for x in sizes) or not any(sizes):
            raise ToleranceError(f"{self}: allowed: positive numbers, at least one")
        if not self.effect < float("inf"):
            raise ToleranceError(f"{self}: says no effect: the smallest difference the text reads")
        if max(self.decimals, self.integers) > self.effect:
            raise ToleranceError(f"{self}: wider than the effect that the text reads from it")

    def allowed(self, number: Number) -> float:
        """Return how far a number may lie from the stored one."""
        given = self.integers if number.exact else self.decimals
        relative = 0.0 if number.exact and not self.integers else self.relative
        # A share of a large number may pass the effect, which is known only here.
        return max(number.unit, min(given + relative * abs(number.value), self.effect))

    def words(self) -> str:
        """Return the tolerance as a reader is told of it."""
        parts = [f"± {self.decimals:g}"] if self.decimals else []
        parts += [f"± {100 * self.relative:g} %"] if self.relative else []
        text = " and ".join(parts)
        counts = f"counts ± {self.integers:g}" if self.integers else ""
        return " , ".join(filter(None, (text, counts))).replace(" ,", ",")


@dataclass(frozen=True)
class Number:
    """A printed number: its value and one unit in its last printed place (0 for an integer)."""

    text: str
    value: float
    unit: float

    @property
    def exact(self) -> bool:
        """Return whether it is an integer."""
        return self.unit == 0.0

    @property
    def integer(self) -> bool:
        """Return whether it is written as one: NumPy's «5.» is a decimal that came out whole."""
        return self.text.lstrip("+-−").replace(",", "").isdigit()

    @classmethod
    def read(cls, text: str) -> Number:
        """Return a printed number."""
        plain = text.replace("−", "-").replace(",", "")
        mantissa, _, exponent = plain.lower().partition("e")
        decimals = len(mantissa.partition(".")[2])
        power = int(exponent or 0) - decimals
        exact = not decimals and not exponent  # NumPy prints a whole float as «5.»
        return cls(text, float(plain), 0.0 if exact else float(f"1e{power}"))


@dataclass(frozen=True)
class Moved:
    """A number that is not printed as stored, with the part of its allowance that it took."""

    stored: str
    printed: str
    share: float  # of what is allowed; above 1 it is a difference
    declared: bool  # whether the cell declares a tolerance for it


@dataclass(frozen=True)
class Comparison:
    """What comparing a cell found: differences in words, and every number that moved."""

    differences: list[str]
    moved: list[Moved]


def split(text: str) -> tuple[list[str], list[Number]]:
    """Return the text between the numbers, spaces folded, and the numbers."""
    between, numbers, last = [], [], 0
    for match in NUMBER.finditer(text):
        if not re.search(r"\d", match.group()):
            continue
        between.append(fold(text[last : match.start()]))
        numbers.append(Number.read(match.group()))
        last = match.end()
    return [*between, fold(text[last:])], numbers


def fold(text: str) -> str:
    """Return text with runs of spaces as one, and none at the ends of lines."""
    lines = re.sub(r"[ \t]+", " ", text)
    return re.sub(r" ?\n ?", "\n", lines)


def compare_text(stored: str, printed: str, tolerance: Tolerance | None) -> Comparison:
    """Compare two printed texts."""
    if stored == printed:
        return Comparison([], [])
    found = not_finite(stored, printed)
    if found:
        return Comparison([found], [])
    (words, before), (new_words, now) = split(stored), split(printed)
    if [w.strip(" ") for w in words] != [w.strip(" ") for w in new_words]:
        return Comparison([f"text: stored {stored!r}, printed {printed!r}"], [])
    moved = [move(a, b, tolerance) for a, b in zip(before, now, strict=True)]
    moved = [m for m in moved if m is not None]
    return Comparison([describe(m) for m in moved if not m.share <= 1], moved)  # NaN is no match


def not_finite(stored: str, printed: str) -> str:
    """Say where a number became NaN, infinite or missing, or the other way round."""
    before, now = NOT_FINITE.findall(stored), NOT_FINITE.findall(printed)
    if before == now:
        return ""
    return f"not a number: {now or 'none'} printed, {before or 'none'} stored; stored {stored!r}"


def move(stored: Number, printed: Number, tolerance: Tolerance | None) -> Moved | None:
    """Return how far a number moved, None where it is the same.

    An integer has to be written alike: 5528 is not 5,528. How many digits a decimal has follows
    the numbers around it, and the sign of a zero rounding.
    """
    equal = stored.value == printed.value and math.isfinite(stored.value)
    # An integer that became a decimal is another kind of output, not a small move.
    same_kind = stored.exact == printed.exact
    if stored.text == printed.text or (equal and same_kind and not stored.integer):
        return None
    distance = abs(stored.value - printed.value)
    limit = tolerance.allowed(stored) if tolerance else stored.unit
    share = distance / limit if limit and same_kind and not equal else float("inf")
    declared = tolerance is not None and limit > stored.unit
    # The last printed place is one unit wide: 0.45 against 0.44 is exactly one, but for rounding.
    return Moved(stored.text, printed.text, round(share, 9), declared)


def describe(moved: Moved) -> str:
    """Return a difference in words."""
    how = "its tolerance" if moved.declared else "a unit in the last place"
    far = "" if moved.share == float("inf") else f", {moved.share:.3g} times {how}"
    return f"number: stored {moved.stored}, printed {moved.printed}{far}"


def flat(outputs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the compared texts of a cell's outputs by kind, in order; a stream as one text."""
    texts: dict[str, list[str]] = {}
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            texts.setdefault(output["name"], [""])[0] += joined(output["text"])
        elif kind == "error":
            texts.setdefault("error", []).append(f"{output['ename']}: {output['evalue']}")
        else:
            for mime, value in output["data"].items():
                shown = joined(value) if mime in COMPARED else ""
                texts.setdefault(mime, []).append(shown)
    return texts


def joined(text: Any) -> str:
    """Return a notebook's multi-line text as one."""
    return "".join(text) if isinstance(text, list) else str(text)


def compare(
    stored: Iterable[Mapping[str, Any]],
    printed: Iterable[Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> Comparison:
    """Compare the outputs of a cell: kinds and numbers of outputs, text, numbers.

    Args:
        stored: The outputs of the committed notebook.
        printed: The outputs of this run.
        metadata: The cell's metadata; may hold a ``tolerance``.

    Raises:
        ToleranceError: The declared tolerance cannot be meant.
    """
    tolerance = Tolerance.of(metadata)
    before, now = flat(stored), flat(printed)
    differences: list[str] = []
    moved: list[Moved] = []
    for kind in dict.fromkeys([*before, *now]):
        one, two = before.get(kind, []), now.get(kind, [])
        if len(one) != len(two):
            shown = "".join(two)[:200]
            differences.append(f"{kind}: {len(one)} stored, {len(two)} printed {shown!r}")
            continue
        for a, b in zip(one, two, strict=True):
            found = compare_text(a, b, tolerance)
            differences += [f"{kind}: {text}" for text in found.differences]
            moved += found.moved
    return Comparison(differences, moved)
