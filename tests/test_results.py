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
import pytest

from setrade import results


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


@pytest.mark.parametrize("raw", [b"\xff\xfe{}", b"", b"[1", b"caf\xe9"])
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
