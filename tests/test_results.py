"""Stored results: what is written can be read, and what is not whole is refused."""

from __future__ import annotations

import json

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
    monkeypatch.setattr(results, "commit", lambda: "abc")  # the folder is no repository
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
    (folder / "cut.json").write_text(text)
    with pytest.raises(results.ResultError, match=said):
        results.load("cut")
