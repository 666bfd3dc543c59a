"""Stored results: what is written can be read, and what is not whole is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from setrade import results
from setrade.evidence import ConfidenceInterval


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return tmp_path


def test_plain_holds_only_what_json_can():
    found = results.plain({
        1: np.array([1.23456789, np.nan]), "a": (np.int64(3), True, None, "x", np.bool_(False)),
    })  # fmt: skip
    assert found == {"1": [1.234568, None], "a": [3, True, None, "x", False]}
    assert json.dumps(found, allow_nan=False)


STAMPS = pd.to_datetime(["2024-01-01", None])
DEEP: list = []
DEEP.append(DEEP)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.array(3.0), 3.0),
        (pd.Series([1.0, np.nan], STAMPS), {"2024-01-01 00:00:00": 1.0, "NaT": None}),
        (pd.DataFrame({"a": [1, 2]}, ["x", "y"]), {"a": {"x": 1, "y": 2}}),
        (STAMPS, ["2024-01-01 00:00:00", None]),
        (STAMPS.to_numpy("datetime64[s]"), ["2024-01-01T00:00:00", None]),
        (ConfidenceInterval(1.0, 0.5, np.inf, 0.9),
         {"estimate": 1.0, "low": 0.5, "high": None, "level": 0.9}),
        (torch.tensor([[1, 2]]), [[1, 2]]),
        (np.ma.array([1.0, 2.0], mask=[False, True]), [1.0, None]),
        ((Path("a") / "b").parent, "a"),
        (pd.NA, None),
        (range(2), [0, 1]),
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_what_can_be_stored_is(folder, value, stored):
    results.save(
        "x", {"a": [value]}, command="c", seed=np.int64(3), seconds=np.float32(3.25),
        data={"file": Path("sha")},  # type: ignore[dict-item]
    )  # fmt: skip
    record = results.load("x")
    assert record["results"] == {"a": [stored]}
    assert (record["seed"], record["seconds"], record["data_sha256"]) == (3, 3.2, {"file": "sha"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [0, {1, 2}]}, r"^results\.a\[1\] cannot be stored: .*set"),
        ({"a": {1: "a", "1": "b"}}, r"^results\.a cannot be stored: two of its labels are '1'"),
        (pd.Series([1, 2], ["x", "x"]), "two of its labels are 'x'"),
        ({"a": 1j}, r"^results\.a .*complex"),
        ([10**5000], r"^results\[0\] .*limit"),
        (DEEP, "^results cannot be stored: maximum recursion"),
    ],
)
def test_what_cannot_be_stored_is_named(folder, value, said):
    with pytest.raises(results.ResultError, match=said):
        results.save("x", value, command="c", seed=0, seconds=0)


def test_the_rest_of_a_record_is_looked_at_too(folder):
    results.save("x", 1, command="c", seed=0, seconds=float("nan"))
    assert results.load("x")["seconds"] is None
    for odd in ({"seed": {1}}, {"seconds": "3"}, {"data": {"a": b"x"}}, {"device": object()}):
        with pytest.raises(results.ResultError, match=rf"^record\.{next(iter(odd))}"):
            results.save("x", 1, **({"command": "c", "seed": 0, "seconds": 0} | odd))


@pytest.mark.parametrize("name", ["a/b", "../x", "", "x" * 300, "a\0b", 5, None])
def test_a_name_of_no_file_is_refused(folder, name):
    with pytest.raises(results.ResultError, match="no name of a result"):
        results.save(name, 1, command="c", seed=0, seconds=0)
    with pytest.raises(results.ResultError, match="no name of a result"):
        results.load(name)
    assert not list(folder.parent.glob("*.json"))


@pytest.mark.parametrize("record", [{}, {"commit": None}, {"commit": 5}])
def test_a_record_without_a_commit_is_of_no_known_code(record):
    assert not results.same_code(record, "setrade")


def test_what_is_saved_is_loaded_with_its_provenance(folder, monkeypatch):
    monkeypatch.setattr(results, "commit", lambda: "abc")
    results.save("x", {"a": [1.5]}, command="make study STUDY=x", seed=0, seconds=0.12)
    record = results.load("x")
    assert record["results"] == {"a": [1.5]}
    assert (record["commit"], record["seconds"], record["device"]) == ("abc", 0.1, "cpu")
    assert record["versions"]["numpy"] == np.__version__


def test_a_missing_result_says_how_to_make_it(folder):
    with pytest.raises(results.ResultError, match="make study STUDY=nowhere"):
        results.load("nowhere")


@pytest.mark.parametrize(
    ("text", "said"), [('{"command": "x"', "not whole"), ('{"command": "x"}', "lacks seed")]
)
def test_a_result_that_is_not_whole_is_refused(folder, text, said):
    (folder / "cut.json").write_text(text, encoding="utf-8")
    with pytest.raises(results.ResultError, match=said):
        results.load("cut")


@pytest.mark.parametrize("raw", [b"\xff\xfe{}", b"", b"[1", b"caf\xe9", b"[" * 100_000])
def test_a_result_of_other_bytes_is_refused(folder, raw):
    (folder / "cut.json").write_bytes(raw)
    with pytest.raises(results.ResultError, match="not whole"):
        results.load("cut")


def test_a_package_that_is_not_installed_stops_no_result(folder, monkeypatch):
    """Such as `xgboost-cpu` on a Mac, and `onnxruntime` beside `onnxruntime-gpu`."""
    monkeypatch.setattr(results, "PACKAGES", ("numpy", "no-such-package"))
    results.save("x", {}, command="make study STUDY=x", seed=0, seconds=0)
    assert set(results.load("x")["versions"]) == {"python", "numpy"}


# without a git that answers


PROGRAM = """
import json, sys
from setrade import results
results.save("x", {"a": 1}, command="make study STUDY=x", seed=0, seconds=0)
record = results.load("x")
same = results.same_code(record | {"commit": sys.argv[1]}, "setrade")
print(json.dumps([record["commit"], same]))
"""
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def tree(tmp_path) -> Path:
    """What a ZIP file of the project holds, as far as a result needs it."""
    tree = tmp_path / "outer" / "book-main"
    (tree / "setrade").mkdir(parents=True)
    (tree / "book" / "results").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "files.py", "results.py"):
        shutil.copy(Path(results.__file__).parent / name, tree / "setrade")
    return tree


def git(folder: Path, *words: str) -> str:
    me = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *me, *words]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return git(folder, "rev-parse", "HEAD")


def stored(tree: Path, made: str = "0" * 40, **environment: str) -> list:
    """Save a result in a process of its own; return its commit, and if the code is as at made."""
    env = os.environ | {"PYTHONPATH": str(tree)} | environment
    command = [sys.executable, "-P", "-c", PROGRAM, made]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert (tree / "book" / "results" / "x.json").is_file()
    return json.loads(done.stdout)


UNKNOWN = [results.UNKNOWN, False]


def test_a_tree_from_a_zip_file_stores_results(tree):
    assert stored(tree) == UNKNOWN
    assert stored(tree, results.UNKNOWN) == UNKNOWN  # not known to be the same


def test_a_machine_without_git_stores_results(tree, tmp_path):
    made = commit_all(tree) if shutil.which("git") else "0" * 40
    (tmp_path / "empty").mkdir()
    assert stored(tree, made, PATH=str(tmp_path / "empty")) == UNKNOWN


@needs_git
def test_a_repository_is_known_and_what_differs_from_it(tree):
    made = commit_all(tree)
    assert stored(tree, made) == [made, True]
    assert stored(tree, "0" * 40) == [made, False]  # of a history that is not here
    assert stored(tree, "main --") == [made, False]
    (tree / "setrade" / "errors.py").write_bytes(
        (tree / "setrade" / "errors.py").read_bytes() + b"\n# changed\n"
    )
    assert stored(tree, made) == [made + "+", False]


@needs_git
def test_a_repository_around_the_tree_lends_no_commit(tree):
    (tree.parent / "mine.txt").touch()
    made = commit_all(tree.parent)  # with the tree in it, at another place than the top
    assert stored(tree, made) == UNKNOWN


@needs_git
def test_a_repository_whose_commits_lack_the_tree_lends_none(tree):
    """Unpacked at the top of another project."""
    git(tree, "init", "-q")
    assert stored(tree) == UNKNOWN  # no commit yet
    (tree / "mine.txt").touch()
    git(tree, "add", "mine.txt")
    git(tree, "commit", "-qm", "one")
    assert stored(tree, git(tree, "rev-parse", "HEAD")) == UNKNOWN


@needs_git
def test_a_repository_that_a_git_hook_names_lends_none(tree, tmp_path):
    (tmp_path / "other" / "setrade").mkdir(parents=True)
    (tmp_path / "other" / "setrade" / "x.py").touch()
    made = commit_all(tmp_path / "other")
    assert stored(tree, made, GIT_DIR=str(tmp_path / "other" / ".git")) == UNKNOWN


@needs_git
@pytest.mark.parametrize("way", ["another owner", "as git tests it"])
def test_a_git_that_trusts_no_such_owner_stores_results(tree, tmp_path, way):
    made, trusts_nobody = commit_all(tree), {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    if way == "as git tests it":
        trusts_nobody["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"
    elif not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("only root gives files away")
    else:
        for path in (tree, tree / ".git"):
            os.chown(path, 12_345, 12_345)
    asked = ["git", "-C", str(tree), "status"]
    env = os.environ | trusts_nobody
    said = subprocess.run(asked, env=env, capture_output=True, encoding="utf-8", check=False)
    assert "dubious ownership" in said.stderr
    assert stored(tree, made, **trusts_nobody) == UNKNOWN


@needs_git
def test_a_damaged_repository_stores_results(tree):
    made = commit_all(tree)
    (tree / ".git" / "index").write_bytes(b"torn")
    assert stored(tree, made) == UNKNOWN
    (tree / ".git" / "HEAD").write_bytes(b"")
    assert stored(tree, made) == UNKNOWN


# killed


SAVES_FOR_EVER = """
import sys
from pathlib import Path
from setrade import results
results.FOLDER = Path(sys.argv[1])
print("begun", flush=True)
n = 0
while True:
    n += 1
    text = str(n % 10) * 4_000_000
    results.save("x", text, command="make study STUDY=x", seed=0, seconds=0)
"""


def test_a_save_that_is_killed_leaves_the_old_result_whole(folder):
    results.save("x", "old", command="make study STUDY=x", seed=0, seconds=0)
    seen = set()
    for n in range(6):
        command = [sys.executable, "-c", SAVES_FOR_EVER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.1 * n)
            process.kill()
        text = results.load("x")["results"]
        assert text == "old" or (len(text) == 4_000_000 and len(set(text)) == 1)
        seen.add(text[0])
    assert len(seen) > 1  # some were saved
