"""Races: a missed bound is told, a wrong value stops, and processors stand side by side."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from setrade import races, results

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
BENCH = """
def test_toy(race):
    race(lambda: sum(range(300)), peer=lambda: sum(range(30_000)))
    race.bound("peer", 7.0, {asked})
    assert 1 == {value}
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Return a function that runs a toy bench into an empty folder of results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "STORED", tmp_path)
    monkeypatch.setattr(races, "processor", lambda: "here")
    (tmp_path / "conftest.py").write_bytes((BENCHMARKS / "conftest.py").read_bytes())

    def run(asked="5", value=1, file="toy") -> int:
        text = BENCH.format(asked=asked, value=value)
        (tmp_path / f"bench_{file}.py").write_text(text, encoding="utf-8")
        return importlib.import_module("run").main([file], tmp_path)

    return run


def row(seen: float = 2.0, bound: float | None = None) -> dict:
    met = None if bound is None else seen >= bound
    found = {"ratios": {"peer": {"seen": seen, "bound": bound, "met": met}}, "median_ms": {}}
    return {"kept": found}


def test_a_bound_that_is_met_is_marked(bench, capsys):
    assert bench("5") == 0
    stored = races.records()["here"]["rows"]["test_toy"]
    for memory in races.MEMORIES:
        assert stored[memory]["ratios"]["peer"] == {"seen": 7.0, "bound": 5, "met": True}
        assert set(stored[memory]["median_ms"]) == {"ours", "peer"}
    assert "on here: 0 bounds missed" in capsys.readouterr().out


def test_a_bound_that_is_missed_is_told_and_fails_nothing(bench, capsys):
    races.store({"test_toy": row(9.0, 8.0)}, on="elsewhere")
    assert bench("{'fresh': 8}") == 0
    stored = races.records()["here"]["rows"]["test_toy"]
    assert stored["fresh"]["ratios"]["peer"] == {"seen": 7.0, "bound": 8, "met": False}
    assert stored["kept"]["ratios"]["peer"] == {"seen": 7.0, "bound": None, "met": None}
    said = capsys.readouterr().out
    assert "on here: 1 bounds missed" in said
    (line,) = [line for line in said.splitlines() if "toy: peer" in line and "kept" in line]
    assert line.split()[-2:] == ["9", "elsewhere"]


def test_a_wrong_value_stops_the_run_and_is_not_stored(bench):
    races.store({"test_other": row()}, on="here")
    before = (results.FOLDER / "bench.json").read_bytes()
    assert bench(value=2) == 1
    assert (results.FOLDER / "bench.json").read_bytes() == before


def test_a_file_that_does_not_exist_is_named(bench, capsys):
    assert importlib.import_module("run").main(["nowhere"], results.FOLDER) == 1
    assert "bench_nowhere.py" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "STORED", tmp_path)
    return tmp_path


def test_records_of_two_processors_stand_side_by_side(folder):
    races.store({"test_a": row(684.9), "test_b": row(3.0)}, on="one")
    races.store({"test_a": row(224.0)}, on="two")
    races.store({"test_a": row(600.0)}, on="one")
    assert races.ratios("test_a", "peer") == {"one": 600.0, "two": 224.0}
    least = races.least("test_a", "peer")
    assert (least.ratio, least.where, least.ran) == (224.0, "two", ("one", "two"))
    assert str(least) == "at least 220 times on 2 processors, least on two"
    assert str(races.least("test_b", "peer")) == "3 times on one"  # an older row stays
    assert {"machine", "versions"} <= races.records()["two"].keys()


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(26.97, "26"), (6.49, "6.4"), (3.0, "3"), (0.942, "0.94"), (4780.0, "4,700"), (100.0, "100")],
)
def test_a_ratio_is_never_rounded_up(ratio, said):
    assert str(races.Least(ratio, "x", ("x",))) == f"{said} times on x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"command": "make be', "bench.json is not whole"),
        ('{"command": "make bench"}', "bench.json lacks seed"),
        (None, "bench.json: test_a is not a whole record"),  # as it was before processors
    ],
)
def test_a_record_that_is_not_whole_is_named(folder, text, said):
    if text is None:
        results.save("bench", {"test_a": {}}, command="make bench", seed=0, seconds=0)
    else:
        (folder / "bench.json").write_text(text, encoding="utf-8")
    with pytest.raises(results.ResultError, match=said):
        races.least("test_a", "peer")
    with pytest.raises(results.ResultError, match=said):
        races.store({"test_a": row()})


def seen(value):
    """Return a record of one race whose ratio is this."""
    kept = {"kept": {"ratios": {"peer": {"seen": value}}}}
    return {"machine": 1, "versions": 1, "rows": {"test_a": kept}}


@pytest.mark.parametrize("lost", [float("nan"), None, "5", True])
@pytest.mark.parametrize("first", [True, False])
def test_a_ratio_that_is_no_number_is_named_and_never_the_least(folder, lost, first):
    both = {"one": seen(lost), "two": seen(3.0)}
    record = dict.fromkeys(results.KEYS, 1)
    found = both if first else dict(reversed(both.items()))
    (folder / "bench.json").write_text(json.dumps(record | {"results": found}), encoding="utf-8")
    with pytest.raises(results.ResultError, match="test_a is damaged: peer on one"):
        races.least("test_a", "peer")


@pytest.mark.parametrize(
    "found",
    [5, [], {"a": 5}, {"a": seen(1.0) | {"rows": 5}}, {"a": seen(1.0) | {"rows": {"test_a": 5}}},
     {"a": seen(1.0) | {"rows": {"test_a": {"kept": 5}}}}],
)  # fmt: skip
def test_a_record_of_another_shape_is_named(folder, found):
    record = dict.fromkeys(results.KEYS, 1) | {"results": found}
    (folder / "bench.json").write_text(json.dumps(record), encoding="utf-8")
    for call in (lambda: races.least("test_a", "peer"), lambda: races.milliseconds("test_a")):
        with pytest.raises(results.ResultError, match="bench.json"):
            call()


def test_a_ratio_that_nobody_raced_is_named(folder):
    races.store({"test_a": row()}, on="one")
    with pytest.raises(results.ResultError, match="'nobody' of test_a, memory kept"):
        races.least("test_a", "nobody")
    with pytest.raises(results.ResultError, match="memory fresh"):
        races.least("test_a", "peer", "fresh")


KILLED = """
import sys
from setrade import races, results
from pathlib import Path
results.FOLDER = results.STORED = Path(sys.argv[1])
results.commit = lambda: "abc"
print("begun", flush=True)
while True:
    races.store({f"test_{n}": {"kept": {"ratios": {}}} for n in range(3_000)}, on="killed")
"""


def test_a_run_that_is_killed_leaves_the_old_records_whole(folder):
    races.store({"test_a": row(5.0)}, on="one")
    for n in range(4):
        command = [sys.executable, "-c", KILLED, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 + 0.1 * n)
            process.kill()
        assert races.ratios("test_a", "peer") == {"one": 5.0}
        json.loads((folder / "bench.json").read_text(encoding="utf-8"))
