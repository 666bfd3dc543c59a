"""Printed numbers are compared as numbers; spoiled outputs are found, each in words that help."""

from __future__ import annotations

import ast
import builtins
import json
import math
import os
import subprocess
import sys

import jupytext
import nbformat
import pytest
from _pytest.doctest import _get_checker, _get_number_flag
from compare import Number, Tolerance, ToleranceError, compare, compare_text, split
from environments import ENVIRONMENTS, NUMERIC, environment
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from provenance import BOOK, CHAPTERS, ROOT

TRAINED = {"decimals": 0.03, "effect": 0.1}


def stream(text: str, name: str = "stdout") -> list[dict]:
    return [{"output_type": "stream", "name": name, "text": text}]


def differences(stored: str, printed: str, **tolerance) -> list[str]:
    metadata = {"tolerance": tolerance} if tolerance else {}
    return compare(stream(stored), stream(printed), metadata).differences


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("accuracy 0.45, IC −0.05", ["0.45", "−0.05"]),
        ("5,528 bars of (64, 224)", ["5,528", "64", "224"]),
        ("2021-09-27 13:45", ["2021", "09", "27", "13", "45"]),
        ("1e-05 2.3e+07 .5 -0.0", ["1e-05", "2.3e+07", ".5", "-0.0"]),
        ("torch v2.13.0, B0, x2, top-5", ["5"]),
        ("3-5, [−0.38, 0.27]", ["3", "5", "−0.38", "0.27"]),
        ("<td>0.123</td><td>-4</td>", ["0.123", "-4"]),
        ("3f4a 5e3a", ["3", "5"]),
    ],
)
def test_numbers_are_found_in_text(text, numbers):
    assert [n.text for n in split(text)[1]] == numbers


def test_versions_and_names_stay_text():
    assert [n.text for n in split("version 2.13.0")[1]] == ["2"]  # the rest is compared as text
    assert differences("version 2.13.0", "version 2.12.0")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [("0.45", 0.45, 0.01), ("5,528", 5528, 0), ("−1.5e-3", -0.0015, 1e-4), ("5.", 5, 0)],
)
def test_a_number_knows_its_last_place(text, value, unit):
    number = Number.read(text)
    assert number.value == pytest.approx(value)
    assert number.unit == pytest.approx(unit)


SAME = {
    "the same": ("a 0.45\n", "a 0.45\n"),
    "one unit in the last place": ("a 0.45\n", "a 0.44\n"),
    "one unit, rounded the other way": ("0.999 x", "1.000 x"),
    "a wider column": ("  9.99 x\n", " 10.00 x\n"),
    "minus zero": ("-0.00", "0.00"),
    "an exponent": ("1.2e-07", "1.3e-07"),
    "minus zero, whole": ("[-0. 1.]", "[ 0. 1.]"),
    "digits that follow the neighbours": ("[0.5 0.25]", "[0.50 0.25]"),
    "NaN in both": ("nan 0.1", "nan 0.1"),
    "a table": ("<td>0.123</td>", "<td>0.124</td>"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_counts_as_the_same(name):
    assert differences(*SAME[name]) == []


SPOILED = {
    "two units": ("a 0.45", "a 0.43", "number: stored 0.45, printed 0.43, 2 times"),
    "an integer": ("814 bars", "815 bars", "number: stored 814, printed 815"),
    "a sign": ("+0.06", "-0.06", "stored +0.06, printed -0.06"),
    "a word": ("a 0.45", "b 0.45", "text:"),
    "NaN": ("a 0.45", "a nan", "not a number: ['nan'] printed"),
    "infinite": ("a 0.45", "a inf", "not a number: ['inf'] printed"),
    "fewer digits": ("a 0.4500", "a 0.45 0", "text:"),
    "a decimal for an integer": ("a 3", "a 3.0", "stored 3, printed 3.0"),
    "one more": ("a 0.45", "a 0.45 0.45", "text:"),
    "a line less": ("a 1\nb 2\n", "a 1\n", "text:"),
    "a thousand": ("5,528", "5,529", "stored 5,528, printed 5,529"),
    "no separator": ("5,528 bars", "5528 bars", "stored 5,528, printed 5528"),
    "a shape that reads as a thousand": ("(1,224)", "(1224)", "stored 1,224, printed 1224"),
    "a sign for an integer": ("+3", "3", "stored +3, printed 3"),
    "a minus that is none": ("−0.45", "0.45", "stored −0.45, printed 0.45"),
    "an exponent's sign": ("1.5e-03", "1.5e+03", "stored 1.5e-03, printed 1.5e+03"),
    "an exponent": ("1.50e-03", "1.53e-03", "3 times a unit in the last place"),
    "past all floats": ("1e999", "2e999", "stored 1e999, printed 2e999"),
    "a cell of a table": (
        "<td>1,204</td><td>0.5</td>",
        "<td>1,204</td><td>0.7</td>",
        "printed 0.7",
    ),
    "a row of a table": ("<tr><td>1</td></tr><tr><td>2</td></tr>", "<tr><td>1</td></tr>", "text:"),
    "a style of a table": ('<td style="width: 30px">1', '<td style="width: 31px">1', "printed 31"),
    "a hash": ("sha 3f4a5e", "sha 3f4b5e", "text:"),
    "a share": ("41%", "42%", "stored 41, printed 42"),
    "a boolean": ("True", "False", "text:"),
    "missing for a number": ("<td>0.1</td>", "<td><NA></td>", "not a number: ['<NA>'] printed"),
    "a date": ("2021-09-27", "2021-09-28", "stored 27, printed 28"),
    "a table's head": ("<th>mean</th>", "<th>max</th>", "text:"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_output_is_found(name):
    stored, printed, words = SPOILED[name]
    (found,) = differences(stored, printed)
    assert words in found


def test_streams_kinds_and_numbers_of_outputs_must_agree():
    figure = [{"output_type": "display_data", "data": {"image/png": "x", "text/plain": "<Fig>"}}]
    other = [{"output_type": "display_data", "data": {"image/png": "y", "text/plain": "<Fig>"}}]
    assert compare(figure, other, {}).differences == []  # pixels are asserted by the next cell
    assert "image/png: 1 stored, 0 printed" in compare(figure, [], {}).differences[0]
    (found,) = compare([], stream("careful", "stderr"), {}).differences
    assert found == "stderr: 0 stored, 1 printed 'careful'"


def test_a_declared_tolerance_is_used_and_bounds():
    assert differences("0.45 and 0.06", "0.43 and 0.08", **TRAINED) == []
    (found,) = differences("0.45", "0.41", **TRAINED)
    assert "1.33 times its tolerance" in found
    assert differences("120 trades", "121 trades", **TRAINED)  # integers: exactly all the same
    assert differences("120 trades", "122 trades", integers=3, effect=10) == []
    assert differences("200.0", "230.0", relative=0.2, effect=100) == []
    assert differences("a 0.45", "b 0.45", **TRAINED)  # never text


def test_no_number_may_move_by_more_than_the_effect():
    """A share of a large number is wider than what the text reads, whatever it is called."""
    wide = {"relative": 0.5, "decimals": 0.01, "effect": 0.1}
    assert differences("0.10", "0.15", **wide) == []
    (found,) = differences("200.00", "230.00", **wide)
    assert "300 times its tolerance" in found


def test_a_tolerance_is_no_leave_to_write_an_integer_another_way():
    assert differences("5,528", "5528", integers=3, effect=10)
    assert differences("999", "1,001", integers=3, effect=10) == []


def test_a_tolerance_finer_than_the_last_place_allows_the_last_place():
    assert differences("1e-02", "2e-02", decimals=0.001, effect=1) == []


def test_what_moved_is_told_with_its_share():
    found = compare(stream("0.45 0.50"), stream("0.42 0.50"), {"tolerance": TRAINED})
    (moved,) = found.moved
    assert (moved.stored, moved.printed, moved.declared) == ("0.45", "0.42", True)
    assert moved.share == pytest.approx(1.0)


@pytest.mark.parametrize(
    "declared",
    [
        0.03,
        {},
        {"decimals": 0.03},
        {"decimals": "0.03", "effect": 1},
        {"decimals": -1, "effect": 1},
        {"decimals": True, "effect": 1},
        {"decimals": math.nan, "effect": 1},
        {"decimals": 0.2, "effect": 0.1},
        {"decimals": 0, "effect": 0.1},
        {"digits": 2, "effect": 1},
    ],
)
def test_a_tolerance_that_cannot_be_meant_is_refused(declared):
    with pytest.raises(ToleranceError, match="tolerance|Tolerance"):
        Tolerance.of({"tolerance": declared})


def test_a_tolerance_is_told_in_words():
    assert Tolerance.of({"tolerance": TRAINED}).words() == "± 0.03"
    wide = {"decimals": 0.02, "relative": 0.1, "integers": 2, "effect": 5}
    assert Tolerance.of({"tolerance": wide}).words() == "± 0.02 and ± 10 %, counts ± 2"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 6))
def test_agrees_with_the_rule_of_pytests_doctest(a, b, digits):
    """The precedent: option NUMBER, which reads the precision from the stored number."""
    stored, printed = f"{a:.{digits}f}", f"{a + (b - a) * 1e-6:.{digits}f}"
    checker = _get_checker()
    flag = _get_number_flag()
    gap = abs(float(stored) - float(printed))
    if abs(gap - 10.0**-digits) < 1e-9 * max(1, abs(a)):
        return  # exactly one unit: floating point decides there, we allow it
    assert (not compare_text(stored, printed, None).differences) == checker.check_output(
        stored, printed, flag
    )


@given(st.text(alphabet="0123456789.,-−+eE ab(x", max_size=30))
def test_reading_numbers_never_fails_and_loses_nothing(text):
    words, numbers = split(text)
    assert len(words) == len(numbers) + 1
    assert all(math.isfinite(n.value) or "e" in n.text.lower() for n in numbers)
    assert not compare_text(text, text, None).differences


def book(tmp_path, source: str, output: str, **metadata):
    """Write a notebook with one cell, and the plugin beside it; return its path."""
    cell = new_code_cell(source, metadata=metadata, execution_count=1)
    cell.outputs = [new_output("stream", name="stdout", text=output)]
    path = tmp_path / "05_made_up.ipynb"
    nbformat.write(new_notebook(cells=[cell]), path)
    (tmp_path / "conftest.py").write_text(
        (BOOK / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize(
    ("output", "metadata", "words"),
    [
        ("0.44\n", {}, []),
        ("0.42\n", {"tolerance": TRAINED}, []),
        ("0.42\n", {}, ["stored 0.42, printed 0.45", "make book CHAPTERS=05_made_up", "tolerance"]),
        ("0.42\n", {"tolerance": {"decimals": 1.0, "effect": 0.1}}, ["wider than the effect"]),
    ],
)
def test_nbval_compares_by_this_rule(tmp_path, output, metadata, words):
    path = book(tmp_path, "print(0.45)", output, **metadata)
    flags = ["-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    where = ["--rootdir", str(tmp_path), "-c", str(ROOT / "pyproject.toml"), "--moved"]
    moved = tmp_path / "moved.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *where, str(moved), str(path)],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == bool(words), done.stdout + done.stderr
    assert all(word in done.stdout for word in words)
    seen = json.loads(moved.read_text(encoding="utf-8"))
    assert (seen["cells"], len(seen["failed"])) == (1, bool(words))


def test_environments_replace_what_the_caller_pinned():
    base = {"PATH": "x", "OMP_NUM_THREADS": "2", "MALLOC_TOP_PAD_": "1"}
    assert environment("pinned", base) == base
    assert environment("no pins", base) == {"PATH": "x"}
    assert environment("one thread, SSE4", base)["OMP_NUM_THREADS"] == "1"
    assert len(ENVIRONMENTS) >= 8
    with pytest.raises(KeyError, match="allowed"):
        environment("none", base)


def test_the_makefile_pins_what_environments_know_and_the_caller_wins():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pinned = {line.split()[1] for line in makefile.splitlines() if line.startswith("export ")}
    assert pinned == set(NUMERIC)
    command = ["make", "-n", "-p", "help"]

    def seen(**extra):
        base = {k: v for k, v in os.environ.items() if k not in (*NUMERIC, "MAKEFLAGS", "PINS")}
        done = subprocess.run(
            command, cwd=ROOT, env=base | extra, capture_output=True, text=True, encoding="utf-8"
        )
        lines = [line.partition(" ") for line in done.stdout.splitlines()]
        return {a: rest.split("= ", 1)[-1] for a, _, rest in lines if a in NUMERIC}

    assert seen()["OMP_NUM_THREADS"] == "2"
    assert seen(OMP_NUM_THREADS="1")["OMP_NUM_THREADS"] == "1"
    assert seen(PINS="none") == {}


TRAINING = {
    "fit",
    "train",
    "train_hedge",
    "optimizer.step",  # a loop of the chapter's own
}  # methods and functions that train a net, trees or a mixture


def trains(node: ast.AST) -> bool:
    """Return whether a piece of code calls something that trains; scaling alone does not."""
    calls = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
    return any(
        (called in TRAINING or called.rpartition(".")[2] in TRAINING)
        and "Standardizer" not in called
        for called in calls
    )


def names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def depends_on_training(cells: list[str]) -> list[bool]:
    """Return for each cell whether it trains, or uses a name that came out of training.

    Whatever a training statement or one that uses a trained name mentions counts as trained:
    that is more than is, never less.
    """
    trained: set[str] = set()
    found = []
    for cell in cells:
        uses = False
        for statement in ast.parse(cell).body:
            bound = names(statement) - BUILTIN
            if isinstance(statement, ast.FunctionDef):
                bound = {statement.name}
            if trains(statement) or names(statement) & trained:
                uses = True
                stored = {n.id for n in ast.walk(statement)
                          if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # fmt: skip
                trained |= stored | (bound if trains(statement) else set())
        found.append(uses)
    return found


BUILTIN = set(dir(builtins)) | {"training", "torch", "np", "pd", "plt", "stats", "labels"}


@pytest.mark.parametrize("source", sorted(CHAPTERS.glob("*.py")), ids=lambda s: s.stem)
def test_only_what_depends_on_training_declares_a_tolerance(source):
    """Elsewhere the digits are the same on every machine: a tolerance would hide a fault."""
    cells = [c for c in jupytext.read(source).cells if c.cell_type == "code"]
    for cell, trained in zip(cells, depends_on_training([c.source for c in cells]), strict=True):
        if Tolerance.of(cell.metadata) is not None:
            assert trained, f"{source.stem}: nothing is trained here\n{cell.source}"


def test_dependence_on_training_is_followed_through_names():
    cells = [
        "x = 1",
        "def go(net):\n    training.fit(net)\n    return net",
        "net = go(Net())",
        "p = net(x)",
        "scaled = Standardizer().fit(x)",
        "print(scaled, x)",
        "print(p)",
    ]
    assert depends_on_training(cells) == [False, True, True, True, False, False, True]
