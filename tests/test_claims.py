"""The ledger of claims: evidence resolves, verdicts follow, and spoiled rows are refused."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import math
import re
from collections import Counter

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm, t

from setrade import evidence
from setrade.errors import ArgumentError
from setrade.evidence import claims, holm
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
    for place in named:
        path, name = place.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, place


def test_chapters_named_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "chapters").glob("*.py"))
    labels = set(re.findall(r"\((ch-[a-z0-9-]+)\)=", text))
    assert {row.chapter for row in claims.ledger()} <= labels


GOOD = {
    "id": "one", "source": "somewhere", "claim": "it is 5.3", "claimed": 5.3, "rule": "equals",
    "tolerance": 0.05, "measured": 5.289, "evidence": "b0_to_b7#claims.parameters_b0",
    "verdict": "holds", "chapter": "ch-mbconv",
}  # fmt: skip


def written(tmp_path, *rows):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump(list(rows)), encoding="utf-8")
    return path


def test_a_good_row_is_read(tmp_path):
    (row,) = claims.ledger(written(tmp_path, GOOD))
    found = row.found()
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
        (
            {"rule": "none", "evidence": "", "verdict": "not testable", "measured": None},
            "no note says why",
        ),
        ({"colour": "green"}, "unknown colour"),
        ({"verdict": "fails", "measured": 6.0}, "--update"),
    ],
)
def test_spoiled_rows_are_refused(tmp_path, change, message):
    with pytest.raises(ClaimError, match=message):
        claims.ledger(written(tmp_path, GOOD | change))


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"tolerance", "measured", "id"}))
def test_a_row_that_lacks_a_field(tmp_path, name):
    with pytest.raises(ClaimError, match=f"one: lacks {name}"):
        claims.ledger(written(tmp_path, {k: v for k, v in GOOD.items() if k != name}))


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "claims.yml").write_text("- id: [1", encoding="utf-8")
    with pytest.raises(ClaimError, match="not a YAML file"):
        claims.ledger(tmp_path / "claims.yml")


@pytest.mark.parametrize("text", ["", "5", "- 5", "- a", "a: b", "- [a, b]"])
def test_a_file_without_rows_is_refused(text):
    with pytest.raises(ClaimError, match="no list of rows"):
        claims.parse(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [("claimed", "5.3"), ("claimed", True), ("claimed", math.nan), ("tolerance", math.nan),
     ("measured", [5]), ("rule", ["equals"]), ("id", [1]), ("family", 3)],
)  # fmt: skip
def test_a_field_of_another_kind_is_named(field, value):
    with pytest.raises(ClaimError, match=f"{field} is "):
        claims.parse(yaml.safe_dump([GOOD | {field: value}]))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"found": Measured(5.0, 6.0, 4.0)}, "found"),
        ({"found": Measured(5.0, 6.0)}, "found"),
        ({"found": Measured("5")}, "found"),  # type: ignore[arg-type]
        ({"tolerance": math.nan}, "found"),
        ({"detectable": math.nan}, "detectable"),
        ({"detectable": "1"}, "detectable"),
        ({"learned": "False"}, "learned"),
    ],
)
@pytest.mark.parametrize("rule", claims.RULES[:4])
def test_what_decides_nothing_gets_no_verdict(rule, arguments, name):
    good = {"rule": rule, "claimed": 1.0, "found": Measured(5.0, 4.0, 6.0)}
    with pytest.raises(ArgumentError, match=f"^{name}: got"):
        verdict(**(good | arguments))
    assert verdict(**good, learned=np.False_) == "not learned"  # type: ignore[arg-type]


def test_ids_are_unique(tmp_path):
    with pytest.raises(ClaimError, match="used twice: one"):
        claims.ledger(written(tmp_path, GOOD, GOOD))


GAIN = {
    "id": "gain", "source": "SE chapter, Somewhere", "claim": "SE gains 0.15 in profit factor",
    "claimed": 0.63, "rule": "interval", "evidence": "se_real#table.sharpe.mean.difference",
    "verdict": "fails", "chapter": "ch-verdict",
}  # fmt: skip


def judged(**change):
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    numbers = {"measured": gap["estimate"], "interval": [gap["low"], gap["high"]]}
    return claims.Claim(**(GAIN | numbers | change)).judge()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "fails"),
        ({"learned": True, "detectable": 0.4}, "fails"),
        ({"detectable": 0.63}, "fails"),  # the claimed size was planted, and found
        ({"detectable": 0.64}, "undecided"),
        ({"detectable": float("inf")}, "undecided"),
        ({"learned": False}, "not learned"),
        ({"learned": False, "detectable": 0.1}, "not learned"),
        ({"corrected": [-1.0, 1.0]}, "undecided"),
        ({"corrected": {"folds": 2}}, "undecided"),
        ({"detectable": "se_real#table.sharpe.mean.difference.high"}, "fails"),
        ({"detectable": "width"}, "fails"),  # [-0.33, 0.30] tells 0.45 from 0
        ({"detectable": "width", "claimed": 0.4}, "undecided"),
        ({"learned": "many_heads#real.table.1 stack.gain"}, "not learned"),  # an interval below 0
        ({"learned": "many_heads#real.table.3 three heads.rank"}, "fails"),  # all of it above 0
    ],
)
def test_a_verdict_needs_a_net_that_learned_and_a_study_that_sees(change, word):
    assert judged(**change) == word


@pytest.mark.parametrize(
    ("rule", "intervals", "size"),
    [
        ("interval", [(0.1, 0.5), (0.2, 0.9)], 0.63),  # one try holds the 0.63 that was planted
        ("interval", [(0.1, 0.5), (0.7, 0.9)], np.inf),  # none does
        ("above", [(0.1, 0.5), (0.7, 0.9)], 0.63),  # held against 0, and above it
        ("interval", [], 0.63),
    ],
)
def test_a_study_that_misses_what_was_planted_cannot_say_that_it_is_not_there(
    rule, intervals, size
):
    tries = [{"low": low, "high": high, "found": True} for low, high in intervals]
    row = claims.Claim(**(GAIN | {"rule": rule}))
    assert row._seen({"size": 0.63, "tries": tries}) == size


def test_no_claimed_drawdown_is_refused_by_a_study_that_misses_it_where_it_is():
    (row,) = (row for row in claims.ledger() if row.id == "se-max-drawdown")
    assert not row.allows()
    assert row.judge() == "undecided"


@given(numbers, st.tuples(numbers, numbers, numbers).map(sorted), st.floats(0, 1e6))
def test_what_cannot_be_seen_never_fails_and_learning_never_makes_a_verdict_bolder(c, b, size):
    found = Measured(b[1], b[0], b[2])
    for rule in claims.RULES[:4]:
        plain, asked = (verdict(rule, c, found, 1.0, detectable=d) for d in (None, size))
        assert asked == plain or (plain, asked) == ("fails", "undecided")
        assert verdict(rule, c, found, 1.0, learned=False) == "not learned"
        assert verdict(rule, c, found, 1.0, learned=True) == plain
    assert verdict("interval", c, found, detectable=1.01 * abs(c) + 1e-9) != "fails"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learned": "yes"}, "no evidence at yes"),
        ({"learned": 1}, "learned is 1"),
        ({"learned": "se_real#learned.mean"}, "learned is"),  # one level too high
        ({"corrected": {"weeks": 8}}, "corrected is"),
        ({"corrected": {"folds": 8, "seeds": 4}}, "corrected is"),
        ({"detectable": "width", "evidence": "se_real#buy_and_hold.sharpe"}, "no interval"),
        ({"detectable": float("nan")}, "detectable is nan"),
        ({"detectable": True}, "detectable is True"),
        ({"corrected": [1.0, -1.0]}, "corrected is"),
        ({"corrected": [0.0]}, "corrected is"),
        ({"detectable": "se_real#table.sharpe.mean.difference.nothing"}, "no evidence at"),
        ({"corrected": {"folds": 8}, "evidence": "se_real#buy_and_hold.sharpe"}, "no interval"),
    ],
)
def test_spoiled_conditions_are_refused(change, message):
    with pytest.raises(ClaimError, match=rf"gain: .*{message}"):
        judged(**change)


def family(*gaps: float) -> list[claims.Claim]:
    """Return rows of one family: each claims a number that lies ``gaps`` half-widths off."""
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    far = [gap["estimate"] + k * (gap["high"] - gap["estimate"]) for k in gaps]
    rows = [GAIN | {"id": f"row{k}", "claimed": x, "family": "one"} for k, x in enumerate(far)]
    return claims.step_down([claims.Claim(**row) for row in rows])


@given(st.lists(st.floats(0, 4), min_size=1, max_size=8))
def test_a_family_shares_one_correction_as_holm_does(gaps):
    p = 2 * norm.sf(np.array(gaps) * norm.ppf(0.975))
    assume(np.abs(p[:, None] * np.arange(1, 9) - 0.05).min() > 1e-6)
    assert [row.allows() for row in family(*gaps)] == (holm(p) > 0.05).tolist()


def test_a_family_by_hand():
    alone, first, second = family(1.1)[0], *family(1.1, 1.1)
    assert (alone.judge(), alone.tests) == ("fails", 1)
    assert [first.judge(), second.judge()] == ["undecided", "undecided"]  # 2.24 / 1.96 = 1.14
    far, near = family(1.2, 1.1)
    assert [far.judge(), near.judge(), far.tests, near.tests] == ["fails", "fails", 2, 1]


def test_folds_and_tests_widen_together():
    wide = evidence.widened(0.0, -1.0, 1.0, 8, tests=4)
    assert wide[1] == pytest.approx(t.ppf(1 - 0.05 / 8, 7) / norm.ppf(0.975) * np.sqrt(8 / 7))
    assert evidence.widened(0.0, -1.0, 1.0, 8)[1] == pytest.approx(1.29, abs=0.01)
    row = claims.Claim(**(GAIN | {"corrected": {"folds": 8}, "tests": 4}))
    found = row.found()
    assert row.checked("corrected") == pytest.approx(
        evidence.widened(found.value, found.low, found.high, 8, tests=4)
    )


def test_what_an_interval_could_show_is_found_four_times_in_five():
    row = claims.Claim(**(GAIN | {"detectable": "width"}))
    found = row.found()
    error = (found.high - found.low) / 2 / norm.ppf(0.975)
    # An estimate scatters around what is there, and its interval then has to leave out zero.
    assert norm.sf(norm.ppf(0.975) - row.checked("detectable") / error) == pytest.approx(0.8)
    wider = claims.Claim(**(GAIN | {"detectable": "width", "tests": 5}))
    assert wider.checked("detectable") > row.checked("detectable")


def test_students_intervals_share_the_error_of_many_tests():
    values = np.array([2.1, 3.3, 4.0, 6.4])
    alone = evidence.t_interval(values)
    shared = evidence.widened(*alone, 4, tests=3, students=True)
    assert shared == pytest.approx(evidence.t_interval(values, 1 - 0.05 / 3)[1:])
    assert evidence.widened(*alone, 4, students=True) == pytest.approx(alone[1:])


def test_no_row_fails_unseen_or_on_a_net_that_is_not_known_to_have_learned():
    nets = ("se_real", "gates_", "reductions", "many_heads", "regimes_and_timeframes#claims.ens",
            "transfer#claims.transfer_helps", "books_nets")  # fmt: skip
    for row in claims.ledger():
        measured = row.rule in ("interval", "above", "below")
        if measured and row.verdict == "fails" and row.interval:
            assert row.detectable is not None, row.id
        named = row.evidence.startswith(nets) and "#relevance" not in row.evidence
        if measured and named:
            assert row.learned is not None, row.id


def test_nan_decides_nothing():
    for found in (Measured(math.nan), Measured(1.0, math.nan, 2.0)):
        for rule in claims.RULES[:4]:
            with pytest.raises(ArgumentError, match="found"):
                verdict(rule, 1.0, found)


def test_a_quoted_fact_says_whose_it_is(tmp_path):
    row = GOOD | {"rule": "quoted", "verdict": "quoted", "evidence": "", "measured": None}
    with pytest.raises(ClaimError, match="quoted, and no note"):
        claims.ledger(written(tmp_path, row))
    assert claims.ledger(written(tmp_path, row | {"note": "Tan and Le (2019), table 1"}))


def test_unknown_rule_is_named():
    with pytest.raises(ArgumentError, match="rule"):
        verdict("hope", 1.0, Measured(1.0))


@pytest.mark.parametrize("page", ["README.md", "book/intro.md"])
def test_the_verdict_on_the_first_pages_is_the_measured_one(page):
    def signed(value: float) -> str:
        return f"{value:.2f}".replace("-", "−")

    said = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    rows = claims.ledger()
    count = Counter(row.verdict for row in rows)
    by_stand_in = Counter(row.verdict for row in rows if row.stand_in)
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    low, high = signed(gap["low"]), signed(gap["high"])
    assert f"it is {signed(gap['estimate'])} (95 % interval {low} to {high})" in said
    runs = [load("se_real")["results"]["learned"][name]["gain"] for name in ("none", "mean")]
    assert f"in {sum(map(len, runs))} trainings, half of them" in said
    assert len(set(map(len, runs))) == 1
    table = [row for row in rows if row.evidence.startswith("se_real#table")]
    assert {row.verdict for row in table} == {"undecided"}  # «cannot decide the claimed table»
    gap = load("se_moved")["results"]["real"]["sharpe"]["mean"]["difference"]
    low, high = signed(gap["low"]), signed(gap["high"])
    assert f"difference is {signed(gap['estimate'])} ({low} to {high})" in said
    seen = load("se_seen")["results"]["detectable"]["sharpe"]["mean"]
    earned = [one["estimate"] for one in seen["tries"]]
    earned.append(load("se_moved")["results"]["planted"]["sharpe"]["mean"]["estimate"])
    assert max(earned) < 1.84 / 2  # «At neither rate did the nets earn ...»
    assert f"Of {count.total()} claims {count['holds']} hold, {count['fails']} fail" in said
    assert f"{count['undecided']} are undecided and {count['not testable']} cannot be" in said
    assert f"{by_stand_in['holds']} of those that hold and {by_stand_in['fails']} of those" in said
    parts = load("b0_real")["results"]["parts"]
    rule = parts["rule"]["rows"]["averages"]["b0"]["all"]
    future = parts["split"]["rows"]["next_12"]["b0"]["all"]
    (hits, fixed), (hoped, one_side) = (
        (f"{row['accuracy']['estimate']:.0%}"[:-1], f"{row['majority']:.0%}"[:-1])
        for row in (rule, future)
    )
    assert f"in {hits} of 100 cases whether the last 8 prices lie on average above" in said
    left = count["undecided"] + count["not learned"] + count["not testable"]
    assert 0.63 < left / count.total() < 0.7
    assert "about two thirds are left open" in said
    assert f"one fixed answer would be right in {fixed};" in said
    assert f"two such nets are right in {hoped} of 100 on average" in said
    assert f"always says «up», which is right in {one_side}, a difference that luck" in said
    assert future["accuracy"]["low"] < future["majority"] < future["accuracy"]["high"]
    assert parts["split"]["tested"][0][:7] == "2024-07"  # «the last five months of 2024»
    assert parts["split"]["rows"]["next_12"]["b0"]["by_seed"]["up"][1] == 1
    assert future["money"]["net"]["sharpe"]["high"] < 0
    plain = [row for row in rows if row.verdict == "holds" and not row.stand_in]
    # Arithmetic: what is counted or computed from a formula, and properties that a test shows.
    arithmetic = [row for row in plain if row.rule in ("equals", "test")]
    assert f"of the other {len(plain)} that hold {len(arithmetic)} can be counted or" in said


def test_what_notes_say_of_stand_ins_is_stored():
    transfer, patterns = (load(name)["results"] for name in ("transfer", "chart_patterns"))
    assert transfer["epochs"] == 2
    assert transfer["claims"]["accuracy_b0"]["high"] < transfer["majority"]
    assert patterns["claims"]["chart_patterns_in_noise"]["low"] > 0.5
    lite0 = load("int8")["results"]["lite0_224"]["recipes"]["per_channel"]
    assert lite0["agreement"] < 0.98


def test_numbers_are_refused_when_they_are_not_those_of_the_evidence(tmp_path):
    for change in ({"measured": 5.288}, {"measured": None}, {"interval": [5.0, 5.5]}):
        with pytest.raises(ClaimError, match=r"one: .*claims_page\.py --update"):
            claims.ledger(written(tmp_path, GOOD | change))
    by_test = {"rule": "test", "evidence": "tests/test_se.py::test_x", "claimed": None}
    path = written(tmp_path, GOOD | by_test)
    with pytest.raises(ClaimError, match=r"one: the evidence says \(None, None\)"):
        claims.ledger(path)


def test_four_digits_are_written():
    assert Measured(1 / 3, -2 / 3, 12345.6).written() == (0.3333, [-0.6667, 12350.0])
    assert Measured(5.2886).written() == (5.289, None)
    assert Measured(8.4, 8.4, 8.4).written() == (8.4, None)


def test_half_an_interval_is_no_interval():
    with pytest.raises(ClaimError, match="neither a number nor an interval"):
        claims._measured("one", {"estimate": 1.0, "low": 0.5, "high": None})
    for low in ("a", [1], math.nan, 3.0):
        with pytest.raises(ClaimError, match="neither a number nor an interval"):
            claims._measured("one", {"estimate": 1.0, "low": low, "high": 2.0})


def test_not_testable_may_show_what_a_stand_in_did(tmp_path):
    row = GOOD | {"rule": "none", "verdict": "not testable", "note": "no GPU"}
    (claim,) = claims.ledger(written(tmp_path, row | {"stand_in": "a small one for it"}))
    assert claim.measured == 5.289
    with pytest.raises(ClaimError, match="name the stand_in"):
        claims.ledger(written(tmp_path, row))


BY_HAND = """# a comment
- id: one
  source: SE chapter, Somewhere
  claim: 'it is 0.63: not "more"'  # said twice
  claimed: 0.63
  measured: 1.0e-05
  rule: interval
  evidence: se_real#table.sharpe.mean.difference
  chapter: ch-verdict
  verdict: fails

# another
- id: two
  source: SE chapter, Elsewhere
  claim: cannot be seen
  claimed: null
  rule: none
  evidence: ''
  chapter: ch-verdict
  verdict: not testable
  note: nothing
    measured
"""


def tool():
    path = ROOT / "tools" / "claims_page.py"
    spec = importlib.util.spec_from_file_location("claims_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_update_writes_the_numbers_and_nothing_else(tmp_path, capsys):
    path, page = tmp_path / "claims.yml", tool()
    path.write_text(BY_HAND, encoding="utf-8")
    assert page.main(["--file", str(path)]) == 1
    assert "claims_page.py --update" in capsys.readouterr().err
    assert page.main(["--update", "--file", str(path)]) == 0
    new = path.read_text(encoding="utf-8")
    changed = [
        line for line in difflib.ndiff(BY_HAND.split("\n"), new.split("\n")) if line[0] in "+-"
    ]
    assert [line[:12] for line in changed] == ["-   measured", "+   measured", "+   interval"]
    gap = load("se_real")["results"]["table"]["sharpe"]["mean"]["difference"]
    assert claims.ledger(path)[0].interval == [float(f"{gap[k]:.4g}") for k in ("low", "high")]
    assert page.main(["--update", "--file", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == new


def test_update_names_a_verdict_that_no_longer_follows(tmp_path, capsys):
    path = tmp_path / "claims.yml"
    path.write_text(BY_HAND.replace("verdict: fails", "verdict: holds"), encoding="utf-8")
    assert tool().main(["--update", "--file", str(path)]) == 1
    assert "one: the row says holds, the evidence fails" in capsys.readouterr().err


def test_update_refuses_rows_it_cannot_rewrite(tmp_path, capsys):
    path = tmp_path / "claims.yml"
    path.write_text(
        text := yaml.safe_dump([GOOD | {"measured": 1.0}], default_flow_style=True),
        encoding="utf-8",
    )
    assert tool().main(["--update", "--file", str(path)]) == 1
    assert "one field a line" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == text


def test_the_page_shows_numbers_and_marks_stand_ins():
    text = tool().page()
    shown = [line for line in text.split("\n") if line.startswith("| {bdg")]
    rows = claims.ledger()
    assert len(shown) == len(rows)
    for line, row in zip(shown, rows, strict=True):
        assert ("`stand-in`" in line) == bool(row.stand_in)
        assert row.measured is None or re.search(r"\| −?[\d.e+−]+", line)
    for word in {row.verdict for row in rows}:
        mine = [row for row in rows if row.verdict == word]
        marked = [row for row in mine if row.stand_in]
        # A fact of the literature was not measured, so nothing stood in for it.
        assert (word != "quoted") == (len(marked) > 0)
        # Both rows of nets that did not learn are of one book and one small net.
        assert len(marked) < len(mine) or word == "not learned"
        assert f"`{word}` {len(mine)} ({len(marked)})" in text
