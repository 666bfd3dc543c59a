"""The registered test: frozen by hash, read once, and bad files are named before any net learns."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import registered
from registered_bars import FILES, LATER, REHEARSED, join, prepare, sources
from registered_page import HYPOTHESES

from setrade import candles, results
from setrade.candles import CandleError
from setrade.study import StudyError

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = registered.Size(
    seeds=1, other_seeds=1, gate_seeds=2, num_epochs=1, validation=14, pictures_from="2024-12-01",
    pixels=64, rounds=4,
)  # fmt: skip
DAYS = 62


def ms(time: pd.DatetimeIndex) -> np.ndarray:
    return time.as_unit("ms").asi8


def write(folder: Path, before: str = "2024-10-10", days: int = DAYS) -> tuple[Path, Path]:
    """Write every file, before 2025 and after, into two folders; return them."""
    old, new = folder / "data", folder / "later"
    old.mkdir()
    new.mkdir()
    for seed, (name, (first, second, length)) in enumerate(FILES.items()):
        end = LATER + pd.Timedelta(days=days - seed)  # each ends on another day
        first_bar = pd.Timestamp(before, tz="UTC")
        time = pd.date_range(first_bar, end, freq=length, inclusive="left")
        if name == "funding":
            frame = pd.DataFrame({"ts": ms(time), "rate": 1e-4})
        else:
            bars = candles.synthetic(len(time), seed=seed, interval=length).candles
            frame = bars.reset_index(drop=True).assign(ts=ms(time))
        late = time >= LATER
        frame[~late].to_parquet(old / first)
        frame[late].to_parquet(new / second)
    return old, new


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    return write(tmp_path)


@pytest.fixture
def book(tmp_path, monkeypatch) -> Path:
    """A book of its own: nothing is frozen in it, and nothing is stored."""
    folder = tmp_path / "book"
    (folder / "results").mkdir(parents=True)
    monkeypatch.setattr(results, "BOOK", folder)
    monkeypatch.setattr(results, "FOLDER", folder / "results")
    monkeypatch.setattr(results, "STORED", folder / "results")
    return folder


def asked(tmp_path: Path, files: tuple[Path, Path], rehearse: bool = False) -> argparse.Namespace:
    old, new = files
    argv = ["--data", str(old), "--later", str(new), "--jobs", "1", "--store", str(tmp_path / "s")]
    return registered.options([*argv, *(["--rehearse"] if rehearse else [])])


def change(path: Path, edit) -> None:
    """Rewrite a parquet file."""
    edit(pd.read_parquet(path)).to_parquet(path)


def read(files: tuple[Path, Path], where: Path):
    return prepare(sources(*files, rehearse=False), where, LATER)


# --- the files


def test_whole_files_are_joined_where_they_meet(tmp_path, files):
    bars = read(files, tmp_path / "s")
    hours = bars.files["btc_1h"].read()
    assert hours.index[0] == pd.Timestamp("2024-10-10", tz="UTC")
    assert hours.index[-1] == LATER + pd.Timedelta(days=DAYS) - pd.Timedelta("1h")
    assert (hours.index[1:] - hours.index[:-1] == pd.Timedelta("1h")).all()
    assert len(bars.files["funding"].rates()) == len(hours) // 8 - 3 * 4
    # no position on BTC is judged where its funding is not known
    assert bars.ends["btc_1h"] == LATER + pd.Timedelta(days=DAYS - 4)
    assert bars.ends["sol_1h"] == LATER + pd.Timedelta(days=DAYS - 3)


SECOND = FILES["eth_1h"][1]


@pytest.mark.parametrize(
    ("edit", "error", "match"),
    [
        (lambda t: t.drop(index=t.index[100:103]), CandleError, "2025-01-05 07:00"),
        (lambda t: t.iloc[5:], StudyError, f"{SECOND} begins at 2025-01-01 05:00"),
        (lambda t: t.assign(ts=t["ts"] - 3_600_000), StudyError, f"{SECOND} holds bars of 2024"),
        (lambda t: t.iloc[: 40 * 24], StudyError, f"{SECOND} has 40 days"),
        (lambda t: t.iloc[:0], StudyError, f"{SECOND} has no rows"),
        (lambda t: t.drop(columns="close"), StudyError, "close"),
        (lambda t: t.assign(high=t["low"] / 2), CandleError, "high"),
    ],
    ids=["hole", "late", "2024", "short", "empty", "column", "fault"],
)
def test_a_later_file_at_fault_is_named(tmp_path, files, edit, error, match):
    change(files[1] / SECOND, edit)
    with pytest.raises(error, match=match):
        read(files, tmp_path / "s")


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("k", [0, 1])
def test_a_missing_file_is_named_with_its_variable(tmp_path, files, name, k):
    (files[k] / FILES[name][k]).unlink()
    variable = ("SETRADE_DATA", "SETRADE_LATER")[k]
    with pytest.raises(StudyError, match=f"{FILES[name][k]} is missing.*{variable}"):
        read(files, tmp_path / "s")


def test_a_file_that_is_no_table_is_named(tmp_path, files):
    (files[1] / SECOND).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StudyError, match=SECOND):
        read(files, tmp_path / "s")


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda t: t.drop(index=t.index[9]), "2025-01-04 08:00"),
        (lambda t: t.assign(rate=np.nan), "rate"),
        (lambda t: t.iloc[::-1], "not from 2025|begins at|order"),
    ],
    ids=["hole", "nan", "backwards"],
)
def test_funding_at_fault_is_named(tmp_path, files, edit, match):
    change(files[1] / FILES["funding"][1], edit)
    with pytest.raises((StudyError, ValueError), match=match):
        read(files, tmp_path / "s")


def test_files_that_do_not_meet_are_named(files):
    name = "eth_1h"
    change(files[0] / FILES[name][0], lambda t: t.iloc[:-2])
    with pytest.raises(StudyError, match="do not meet"):
        join(name, sources(*files, rehearse=False)[name], LATER)


def test_a_reading_belongs_to_its_files(tmp_path, files):
    read(files, tmp_path / "s")
    read(files, tmp_path / "s")  # goes on
    change(files[1] / SECOND, lambda t: t.iloc[:-1])
    with pytest.raises(StudyError, match=SECOND):
        read(files, tmp_path / "s")


def test_a_rehearsal_reads_the_second_half_of_2024_and_no_later_file(tmp_path):
    old, _ = write(tmp_path, before="2024-06-01")
    bars = prepare(sources(old, None, rehearse=True), tmp_path / "s", REHEARSED)
    assert bars.start == REHEARSED
    assert set(bars.ends.values()) == {LATER}
    assert bars.files["eth_1h"].read().index[-1] == LATER - pd.Timedelta("1h")
    assert len(sources(old, None, rehearse=True)["btc_1h"]) == 1


# --- the freeze


def test_nothing_is_read_before_the_freeze(tmp_path, files, book):
    with pytest.raises(StudyError, match="draft, not frozen"):
        registered.carry_out(asked(tmp_path, files), TINY)
    assert not (tmp_path / "s").exists()
    assert "draft, not frozen" in registered.the_page()


def test_a_change_after_the_freeze_is_named(tmp_path, files, book, monkeypatch):
    registered.freeze()
    assert registered.require_frozen()["frozen"] in (book / "registered.md").read_text(
        encoding="utf-8"
    )
    page = book / "registered.md"
    page.write_text(page.read_text(encoding="utf-8") + "one more word\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"changed since the freeze.*book/registered\.md$"):
        registered.carry_out(asked(tmp_path, files), TINY)
    page.write_text(
        page.read_text(encoding="utf-8").removesuffix("one more word\n"), encoding="utf-8"
    )
    registered.require_frozen()
    monkeypatch.setattr(registered, "FEE", 1.0)
    with pytest.raises(StudyError, match="setting fee_bps$"):
        registered.require_frozen()
    monkeypatch.undo()


def test_a_changed_source_or_hypothesis_is_named(book, monkeypatch):
    registered.freeze()
    record = json.loads((book / "registered.json").read_text(encoding="utf-8"))
    record["hashes"]["studies/frozen_real.py"] = "0" * 64
    del record["hashes"]["setting hypothesis gates"]
    (book / "registered.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(StudyError, match=r"frozen_real\.py, setting hypothesis gates"):
        registered.require_frozen()
    with pytest.raises(StudyError, match="frozen once"):
        registered.freeze()


def test_the_page_of_the_book_is_that_of_the_study():
    path = results.BOOK / registered.PAGE
    record = results.BOOK / registered.RECORD
    if record.is_file():
        registered.require_frozen()  # whoever changes a frozen thing learns it here
    else:
        assert path.read_text(encoding="utf-8") == registered.the_page()


# --- the words


def test_words_by_hand():
    below = next(h for h in HYPOTHESES if h.name == "b0_accuracy")
    assert below.word(0.50, 0.53) == "as the book expects"
    assert below.word(0.55, 0.60) == "against the book"
    assert below.word(0.50, 0.60) == "undecided"
    assert below.word(np.nan, np.nan) == "undecided"
    gain = next(h for h in HYPOTHESES if h.name == "se_gain")
    assert gain.word(0.001, 0.005) == "against the book"  # goes first
    above = next(h for h in HYPOTHESES if h.above)
    assert above.word(0.01, 0.1) == "as the book expects"
    assert above.word(-0.1, -0.01) == "against the book"


def test_at_most_ten_each_with_all_that_was_asked_for():
    assert len(HYPOTHESES) <= 10
    assert len({h.name for h in HYPOTHESES}) == len(HYPOTHESES)
    assert pytest.approx(1 - 0.05 / len(HYPOTHESES)) == registered.LEVEL
    page = registered.the_page()
    for h in HYPOTHESES:
        texts = (h.source, h.question, h.data, h.settings, h.statistic, h.answer, h.change)
        for text in (*texts, h.control):
            assert text in page


def test_series_are_cut_to_the_days_that_all_have():
    rows = [
        {"config": {"model": m, "data": d}, "measures": {"hits": [v] * n}}
        for m, d, v, n in (("a", "x", 0.5, 40), ("a", "y", 0.7, 30), ("b", "x", 0.4, 40),
                           ("b", "y", 0.4, 30))
    ]  # fmt: skip
    every = registered.Rows(rows)  # type: ignore[arg-type]
    assert every.of("hits", model="a").shape == (30, 2)
    first, second = ([every.of("hits", data=d, model=m) for d in "xy"] for m in "ab")
    estimate, low, high = registered.gap(every, first, second)
    assert (estimate, low, high) == pytest.approx((0.2, 0.2, 0.2))


# --- the whole


def test_frozen_and_read_once(tmp_path, book, monkeypatch):
    files = write(tmp_path)
    monkeypatch.setattr(registered, "DRAWS", 300)
    registered.freeze()
    args = asked(tmp_path, files)
    stored = registered.carry_out(args, TINY)
    assert list(stored["answers"]) == [h.name for h in HYPOTHESES]
    for h, row in zip(HYPOTHESES, stored["answers"].values(), strict=True):
        assert row["low"] <= row["estimate"] <= row["high"]
        assert row["word"] == (h.word(row["low"], row["high"]) if row["control"] else row["word"])
    paid = stored["answers"]["funding"]
    assert paid["estimate"] == pytest.approx(365 * 3e-4)  # three settlements of a basis point
    assert paid["word"] == "as the book expects"
    record = results.load("registered")
    assert record["results"]["rehearsal"] is False
    assert record["results"]["frozen"] == registered.require_frozen()
    assert set(record["data_sha256"]) == {f for both in FILES.values() for f in both[:2]}
    with pytest.raises(StudyError, match="read once"):
        registered.carry_out(args, TINY)
    # cut short before the answer: what was computed is kept, and the answer is the same
    (book / "results" / "registered.json").unlink()
    monkeypatch.setattr(registered, "PARTS", {})  # no run may be computed again
    assert registered.carry_out(args, TINY)["answers"] == stored["answers"]
    # a file that changes half-way
    (book / "results" / "registered.json").unlink()
    monkeypatch.setattr(
        registered, "answers", lambda rows: pytest.fail("judged files that had changed")
    )
    wanted = registered.run

    def slow(*args, **kwargs):
        change(files[1] / SECOND, lambda t: t.assign(volume=t["volume"] * 2))
        return wanted(*args, **kwargs)

    monkeypatch.setattr(registered, "run", slow)
    with pytest.raises(StudyError, match=f"changed while they were read: {SECOND}"):
        registered.carry_out(args, TINY)
    assert not (book / "results" / "registered.json").exists()
