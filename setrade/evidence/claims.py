"""The ledger of claims: what the two chapters we started from say, and what was measured.

A claim names the stored result (or the test) that measured it, and a rule. The verdict is
computed from these each time the ledger is read, so a verdict that no longer follows from its
evidence is an error, not a stale sentence. So is a number in a row that is not the measured one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import norm

from setrade import races, results
from setrade.errors import ArgumentError, array, flag
from setrade.evidence.statistics import widened

FILE = results.BOOK / "claims.yml"
VERDICTS = ("holds", "fails", "undecided", "not learned", "not testable", "quoted")
RULES = ("equals", "interval", "above", "below", "test", "counterexample", "none", "quoted")
BY_TEST = {
    "test": "holds", "counterexample": "fails", "none": "not testable", "quoted": "quoted",
}  # fmt: skip
FIELDS = {"id", "source", "claim", "claimed", "rule", "evidence", "verdict", "chapter"}
OPTIONAL = {
    "measured", "interval", "tolerance", "unit", "note", "stand_in",
    "learned", "detectable", "corrected", "family",
}  # fmt: skip
TEXTS = ("id", "source", "claim", "rule", "evidence", "verdict", "chapter", "unit", "note",
         "stand_in", "family")  # fmt: skip
COUNTED = ({"folds"}, {"seeds"})
SEEN = 1 + float(norm.ppf(0.8) / norm.ppf(0.975))  # half-widths: four of five tell it from 0
UPDATE = "run `python tools/claims_page.py --update`"


class ClaimError(ValueError):
    """A row of the ledger lacks something, or its verdict does not follow from its evidence."""


@dataclass(frozen=True)
class Measured:
    """A measured value with its interval; both bounds None where it is exact."""

    value: float
    low: float | None = None
    high: float | None = None

    def written(self) -> tuple[float, list[float] | None]:
        """Return value and interval in four digits, as a row has them; None where it is exact."""
        if self.low is None or self.high is None or self.low == self.high:
            return _digits(self.value), None
        return _digits(self.value), [_digits(self.low), _digits(self.high)]


def _digits(value: float) -> float:
    """Return a number rounded to four significant digits."""
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class Claim:
    """One row of the ledger.

    ``rule`` says how ``claimed`` (c) is held against the measured value (m) and its interval:

    - ``equals``: holds when m is within ``tolerance`` of c.
    - ``interval``: fails when c lies outside the interval; holds when it lies inside and the
      interval is narrower than ``tolerance``, otherwise undecided.
    - ``above``, ``below``: holds when the whole interval lies above (below) c, fails when it
      lies on the other side, otherwise undecided.
    - ``test``, ``counterexample``: a test of the project shows it (holds) or its opposite (fails).
    - ``none``: not testable here; ``note`` says why. Evidence may still show what a stand-in did.
    - ``quoted``: a fact of the literature; ``note`` says whose.

    ``measured`` and ``interval`` repeat the evidence in four digits (no interval: counted, or
    timed once). ``stand_in`` says what was measured in place of the thing itself.

    Three more hold a value, or the path of one in a stored result ("<result>#<path.of.keys>"):

    - ``learned``: whether the net learned (`evidence.learned`, or an interval of nats won on the
      class shares, all of it above 0). False makes the verdict "not learned", whatever the number.
    - ``detectable``: the smallest effect that the study finds (`evidence.detectable`), in the
      unit of ``claimed``. «Fails» needs as much, see `verdict`; none is found where each planted
      try leaves the claimed number outside its interval. Where nothing was planted,
      "width": what the interval that decides tells from 0 in four of five studies.
    - ``corrected``: the interval that decides in place of the evidence's own: [low, high] after a
      correction for the number of tests, or ``{folds: n}`` for Student's of n folds or seeds that
      were redrawn, ``{seeds: n}`` where it is Student's of n already (`evidence.widened`).
      Rows of one ``family`` ask one table, and share one correction (`step_down`).
    """

    id: str
    source: str  # chapter and section of the seed
    claim: str
    claimed: float | None
    rule: str
    evidence: str  # "<result>#<path.of.keys>", "bench#<race>.<peer>", "tests/test_x.py::name", ""
    verdict: str
    chapter: str  # label of the chapter that measures it
    tolerance: float = 0.0
    unit: str = ""
    note: str = ""
    stand_in: str = ""
    measured: float | None = None
    interval: list[float] | None = None
    learned: bool | str | None = None
    detectable: float | str | None = None
    corrected: list[float] | Mapping[str, int] | str | None = None
    family: str = ""
    tests: int = 1  # that share the error of the row's interval; set by `step_down`

    @property
    def needs_checkout(self) -> bool:
        """Whether a test of the project is the evidence: an installed copy can't look at it."""
        return "::" in self.evidence

    def found(self) -> Measured | None:
        """Return what the evidence says now; None where no number is measured.

        Of a race it is the least ratio of all processors that ran it.

        Raises:
            ClaimError: the evidence does not exist.
        """
        if self.rule in ("test", "counterexample") or not self.evidence:
            return None
        return _measured(self.id, self._at(self.evidence))

    def _at(self, place: str) -> Any:
        """Return what a stored result has at "<result>#<path.of.keys>", or name what is missing."""
        try:
            return _stored(*place.partition("#")[::2])
        except (results.ResultError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ClaimError(f"{self.id}: no evidence at {place}: {error!r}") from error

    def checked(self, field: str) -> Any:
        """Return ``learned``, ``detectable`` or ``corrected`` as a bool, a number, two numbers.

        Raises:
            ClaimError: the path leads nowhere, or to something else.
        """
        value = getattr(self, field)
        if field == "detectable" and value == "width":
            return SEEN * float(np.ptp(self.decides())) / 2
        if isinstance(value, str) and (value := self._at(place := value)) is None:
            raise ClaimError(f"{self.id}: no evidence at {place}: null")
        if field == "learned" and isinstance(value, Mapping):
            word, low = value.get("word"), value.get("low")  # an `evidence.Learned`, or nats won
            value = word == "learned" if word else low > 0 if isinstance(low, float) else value
        if field == "detectable" and isinstance(value, Mapping):
            value = self._seen(value)
        if field == "corrected" and not isinstance(value, list):
            value = self._widened(value)
        if value is not None and not _fits(field, value):
            raise ClaimError(f"{self.id}: {field} is {value!r}")
        return value

    def _seen(self, stored: Mapping[str, Any]) -> Any:
        """Return the size of a stored `evidence.Detectable`; infinity, which JSON lacks, for null.

        Infinity too under ``interval`` where all tries leave out the claimed number, though it
        was planted: a study that misses what is there cannot say that it is not there.
        """
        size = stored.get("size", math.nan)
        tries = [one for one in stored.get("tries", []) if isinstance(one, Mapping)]
        ends = [(one["low"], one["high"]) for one in tries if {"low", "high"} <= set(one)]
        missed = ends and not any(low <= self.claimed <= high for low, high in ends)
        return math.inf if size is None or (self.rule == "interval" and missed) else size

    def _widened(self, asked: Any) -> Any:
        """Return the bounds for ``{folds: n}`` and for the family's tests; None: none are asked."""
        if asked is None and self.tests == 1:
            return None
        if asked is not None and (not isinstance(asked, Mapping) or set(asked) not in COUNTED):
            return asked  # which `_fits` refuses
        (kind, n), *_ = (asked or {"": None}).items()
        return list(widened(*self._bounded(), n, tests=self.tests, students=kind == "seeds"))

    def _bounded(self) -> tuple[float, float, float]:
        """Return the evidence's number with its own interval."""
        if (found := self.found()) is None or found.low is None or found.high is None:
            raise ClaimError(f"{self.id}: no interval to make wider")
        return found.value, found.low, found.high

    def decides(self) -> list[float]:
        """Return the interval that decides: the corrected one, or the evidence's own."""
        return self.checked("corrected") or list(self._bounded()[1:])

    def allows(self) -> bool:
        """Say whether the claimed number lies inside the interval that decides."""
        low, high = self.decides()
        return self.claimed is not None and low <= self.claimed <= high

    def judge(self) -> str:
        """Return the verdict that follows from the evidence as it is now."""
        if self.rule in BY_TEST:
            return BY_TEST[self.rule]
        found = self.found()
        assert found is not None
        assert self.claimed is not None
        if (bounds := self.checked("corrected")) is not None:
            found = Measured(found.value, *bounds)
        return verdict(
            self.rule, self.claimed, found, self.tolerance,
            learned=self.checked("learned"), detectable=self.checked("detectable"),
        )  # fmt: skip


def step_down(rows: list[Claim]) -> list[Claim]:
    """Return the rows with the number of tests that Holm's correction gives each in its family.

    The row whose claimed number lies farthest from its interval shares its error among all m of
    the family, the next among m - 1, and so on, until one is not rejected; the rest share as that
    one does. Rows without an interval are decided by what is counted, and are no tests.

    Source: Holm (1979).
    """
    out = {row.id: row for row in rows}
    families: dict[str, list[Claim]] = {}
    for row in rows:
        found = row.found() if row.family and row.rule not in BY_TEST else None
        if found is not None and found.low is not None:
            families.setdefault(row.family, []).append(row)
    for family in families.values():
        left = list(family)
        while left:
            wide = [replace(row, tests=len(left)) for row in left]
            rejected = [row for row in wide if not row.allows()]
            out.update((row.id, row) for row in wide)
            if not rejected:
                break
            # All that even the strictest share rejects are among the first of Holm's order.
            left = [row for row in left if row.id not in {r.id for r in rejected}]
    return [out[row.id] for row in rows]


def _fits(field: str, value: Any) -> bool:
    """Say whether a value is of the kind that a field wants; NaN is of none."""
    if field == "learned":
        return isinstance(value, bool)
    numbers = value if field == "corrected" else [value]
    if not isinstance(numbers, list) or len(numbers) != (2 if field == "corrected" else 1):
        return False
    plain = all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers)
    return plain and numbers == sorted(numbers) and all(x == x for x in numbers)


def _stored(name: str, path: str) -> Any:
    """Return what a result has at keys joined by "." or ">>"; of a race its least ratio."""
    if name == races.NAME:
        return races.least(*path.rpartition(".")[::2]).ratio
    value = results.load(name)["results"]
    for step in path.split(">>" if ">>" in path else "."):  # where keys hold dots themselves
        value = value[int(step) if isinstance(value, list) else step]
    return value


def _measured(name: str, value: Any) -> Measured:
    """Return a number, or a dict with ``measured`` (``estimate``, ``value``), ``low``, ``high``."""
    number, bounds = value, [None, None]
    if isinstance(value, Mapping):
        number = value.get("measured", value.get("estimate", value.get("value")))
        bounds = [value.get("low"), value.get("high")]
    if _fits("detectable", number) and (bounds == [None, None] or _fits("corrected", bounds)):
        return Measured(float(number), *(x if x is None else float(x) for x in bounds))
    raise ClaimError(f"{name}: the evidence is {value!r}, neither a number nor an interval")


def verdict(
    rule: str,
    claimed: float,
    found: Measured,
    tolerance: float = 0.0,
    *,
    learned: bool | None = None,
    detectable: float | None = None,
) -> str:
    """Return the word for ``claimed`` held against what was found.

    Args:
        rule: one of the first four of `RULES`, as `Claim` says.
        claimed: the claimed number.
        found: what was measured, with the interval that decides.
        tolerance: of ``equals`` and ``interval``.
        learned: False: "not learned", whatever was found. None: no net, or not known.
        detectable: smallest effect that the study would have found; None: not known.

    Returns:
        "holds", "fails", "undecided" or "not learned". With ``detectable``, «fails» becomes
        «undecided» where the effect is below it: under ``interval`` the claimed effect itself,
        under ``above`` and ``below`` the distance between claimed and found.

    Raises:
        ArgumentError: an unknown rule, bounds that cross, or what is no number, NaN included.
    """
    if detectable is not None and np.isnan(array("detectable", [detectable], finite=False)).any():
        raise ArgumentError("detectable", detectable, "a number; NaN decides nothing")
    learned = None if learned is None else flag("learned", learned)
    word = _word(rule, claimed, found, tolerance)
    if learned is False:
        return "not learned"
    effect = abs(claimed if rule == "interval" else found.value - claimed)
    # Not below it, up to rounding: a long study plants the claimed size itself.
    seen = detectable is None or rule == "equals" or effect >= detectable * (1 - 1e-6)
    return "undecided" if word == "fails" and not seen else word


def _word(rule: str, claimed: float, found: Measured, tolerance: float) -> str:
    """Return "holds", "fails" or "undecided" by the rule alone."""
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    if np.isnan(array("found", [claimed, tolerance, found.value, low, high], finite=False)).any():
        raise ArgumentError("found", (claimed, tolerance, found), "numbers; NaN decides nothing")
    if low > high:
        raise ArgumentError("found", found, "a lower bound that is not above the upper one")
    if rule == "equals":
        return "holds" if abs(found.value - claimed) <= tolerance else "fails"
    if rule == "interval":
        if not low <= claimed <= high:
            return "fails"
        return "holds" if high - low <= tolerance else "undecided"
    if rule == "above":
        return "holds" if low > claimed else "fails" if high <= claimed else "undecided"
    if rule == "below":
        return "holds" if high < claimed else "fails" if low >= claimed else "undecided"
    raise ArgumentError("rule", rule, "one of " + ", ".join(RULES[:4]))


def ledger(path: Path = FILE) -> list[Claim]:
    """Return every claim, checked: evidence exists, numbers are its numbers, verdicts follow.

    A row shown by a test (``Claim.needs_checkout``) takes its verdict from its rule; that the
    test exists and passes is checked by the tests of the checkout, never by an installed copy.

    Raises:
        ClaimError: names the row and what is wrong with it.
    """
    claims = step_down(parse(Path(path).read_text(encoding="utf-8")))
    for claim in claims:
        found = claim.found()
        evidence = (None, None) if found is None else found.written()
        if (row := (claim.measured, claim.interval)) != evidence:
            raise ClaimError(f"{claim.id}: the evidence says {evidence}, the row {row}; {UPDATE}")
        if (judged := claim.judge()) != claim.verdict:
            raise ClaimError(f"{claim.id}: the evidence says {judged}, the row {claim.verdict}")
    return claims


def parse(text: str) -> list[Claim]:
    """Return the rows of a ledger as they are written, each complete; evidence is not looked at.

    Raises:
        ClaimError: names the row and what it lacks.
    """
    try:
        rows = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ClaimError(f"not a YAML file: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ClaimError(f"no list of rows, each with its fields: {rows!r:.60}")
    claims = [_claim(row) for row in rows]
    names = [claim.id for claim in claims]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ClaimError(f"ids used twice: {', '.join(sorted(twice))}")
    return claims


def _claim(row: Mapping[str, Any]) -> Claim:
    """Return one row as a `Claim`, or say what it lacks."""
    name = row.get("id", row)
    if missing := FIELDS - set(row):
        raise ClaimError(f"{name}: lacks {', '.join(sorted(missing))}")
    if unknown := set(row) - FIELDS - OPTIONAL:
        raise ClaimError(f"{name}: unknown {', '.join(sorted(map(str, unknown)))}")
    odd = [field for field in TEXTS if not isinstance(row.get(field, ""), str)]
    values = {field: row.get(field) for field in ("claimed", "tolerance", "measured")}
    odd += [f for f, x in values.items() if x is not None and not _fits("detectable", x)]
    if odd:
        raise ClaimError(f"{name}: {odd[0]} is {row[odd[0]]!r}")
    claim = Claim(**row)
    if claim.family and claim.corrected is not None and not isinstance(claim.corrected, Mapping):
        raise ClaimError(f"{name}: an interval corrected already, and a family to correct it for")
    if claim.rule not in RULES or claim.verdict not in VERDICTS:
        raise ClaimError(f"{name}: rule {claim.rule!r}, verdict {claim.verdict!r}")
    if claim.rule in ("none", "quoted") and not claim.note:
        raise ClaimError(f"{name}: {BY_TEST[claim.rule]}, and no note says why")
    if claim.rule == "none" and claim.evidence and not claim.stand_in:
        raise ClaimError(f"{name}: measured, yet not testable: name the stand_in")
    if claim.rule not in ("none", "quoted") and not claim.evidence:
        raise ClaimError(f"{name}: a verdict without evidence")
    if claim.rule not in BY_TEST and claim.claimed is None:
        raise ClaimError(f"{name}: rule {claim.rule} needs a claimed number")
    return claim
