"""The ledger of claims: evidence resolves, verdicts follow, and spoiled rows are refused."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from setrade.errors import ArgumentError
from setrade.evidence import claims
from setrade.evidence.claims import ClaimError, Measured, verdict
from setrade.results import FOLDER, load

ROOT = FOLDER.parent.parent


@pytest.mark.parametrize(
    ("rule", "claimed", "found", "expected"),
    [
        ("equals", 5.3, Measured(5.289), "holds"),
        ("equals", 9.2, Measured(9.11), "fails"),
        ("interval", 1.84, Measured(0.3, -0.2, 0.8), "fails"),
        ("interval", 0.3, Measured(0.28, 0.27, 0.31), "holds"),
        ("interval", 0.3, Measured(0.28, -1, 2), "undecided"),
        ("above", 0, Measured(0.2, 0.1, 0.3), "holds"),
        ("above", 0, Measured(0.2, -0.1, 0.5), "undecided"),
        ("above", 0, Measured(-0.2, -0.3, 0), "fails"),
        ("below", 4.5, Measured(2.0, 1.5, 3), "holds"),
        ("below", 4.5, Measured(5.0, 4.5, 6), "fails"),
    ],
)
def test_verdicts_by_hand(rule, claimed, found, expected):
    assert verdict(rule, claimed, found, tolerance=0.05) == expected


numbers = st.floats(-1e6, 1e6)


@given(numbers, st.tuples(numbers, numbers, numbers).map(sorted))
def test_above_and_below_are_mirror_images(claimed, bounds):
    low, value, high = bounds
    flipped = verdict("below", -claimed, Measured(-value, -high, -low))
    assert verdict("above", claimed, Measured(value, low, high)) == flipped


def test_every_row_of_the_book_has_evidence_and_its_verdict_follows():
    rows = claims.ledger()
    assert len(rows) >= 45
    assert {row.verdict for row in rows} >= {"holds", "fails", "not testable"}


def test_tests_named_as_evidence_exist():
    named = [row.evidence for row in claims.ledger() if row.rule in ("test", "counterexample")]
    assert named
    for evidence in named:
        path, name = evidence.split("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, evidence


def test_chapters_named_exist():
    text = "".join(path.read_text() for path in (ROOT / "chapters").glob("*.py"))
    labels = set(re.findall(r"\((ch-[a-z0-9-]+)\)=", text))
    assert {row.chapter for row in claims.ledger()} <= labels


GOOD = {
    "id": "one", "source": "somewhere", "claim": "it is 5.3", "claimed": 5.3, "rule": "equals",
    "tolerance": 0.05, "evidence": "b0_to_b7#claims.parameters_b0", "verdict": "holds",
    "chapter": "ch-mbconv",
}  # fmt: skip


def written(tmp_path, *rows):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump(list(rows)))
    return path


def test_a_good_row_is_read(tmp_path):
    (row,) = claims.ledger(written(tmp_path, GOOD))
    found = row.measured()
    assert found is not None
    assert found.value == pytest.approx(5.289)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "fails"}, "evidence says holds, the row fails"),
        ({"claimed": 8.4}, "evidence says fails, the row holds"),
        ({"evidence": "b0_to_b7#claims.nothing"}, "no evidence at"),
        ({"evidence": "nothing#at.all"}, "no evidence at"),
        ({"evidence": "b0_to_b7#claims"}, "neither a number nor an interval"),
        ({"evidence": ""}, "a verdict without evidence"),
        ({"claimed": None}, "needs a claimed number"),
        ({"rule": "gut feeling"}, "rule 'gut feeling'"),
        ({"verdict": "certainly"}, "verdict 'certainly'"),
        ({"rule": "none", "evidence": "", "verdict": "not testable"}, "no note says why"),
        ({"colour": "green"}, "unknown colour"),
    ],
)
def test_spoiled_rows_are_refused(tmp_path, change, message):
    with pytest.raises(ClaimError, match=message):
        claims.ledger(written(tmp_path, GOOD | change))


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"tolerance", "id"}))
def test_a_row_that_lacks_a_field(tmp_path, name):
    with pytest.raises(ClaimError, match=f"one: lacks {name}"):
        claims.ledger(written(tmp_path, {k: v for k, v in GOOD.items() if k != name}))


def test_ids_are_unique(tmp_path):
    with pytest.raises(ClaimError, match="used twice: one"):
        claims.ledger(written(tmp_path, GOOD, GOOD))


def test_unknown_rule_is_named():
    with pytest.raises(ArgumentError, match="rule"):
        verdict("hope", 1.0, Measured(1.0))


@pytest.mark.parametrize("page", ["README.md", "book/intro.md"])
def test_the_verdict_on_the_first_pages_is_the_measured_one(page):
    def signed(value: float) -> str:
        return f"{value:.2f}".replace("-", "−")

    said = " ".join((ROOT / page).read_text().split())
    count = Counter(row.verdict for row in claims.ledger())
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    low, high = signed(gap["low"]), signed(gap["high"])
    assert f"by {signed(gap['estimate'])} (95 % interval {low} to {high})" in said
    assert f"Of {count.total()} claims {count['holds']} hold" in said
    assert f"{count['fails']} fail, {count['undecided']} are undecided" in said
    assert f"and {count['not testable']} cannot be tested here" in said


def test_most_of_what_holds_is_arithmetic():
    """The first pages say so: numbers that are counted, and properties that a test shows."""
    rules = [row.rule for row in claims.ledger() if row.verdict == "holds"]
    assert sum(rule in ("equals", "test") for rule in rules) > len(rules) / 2
