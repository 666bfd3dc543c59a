"""The study of frames: nobody sees the future, nothing bridges a hole, test decides no weight."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import frames_market as fm
import frames_real as fr
import picture_folds as pf
from laws import alter_future

from setrade import candles
from setrade.study import StudyError

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = fr.Setting(
    size=32, num_epochs=1, stride=1, rounds=3, fewest=10, strengths=(1e-3,), block=8.0,
    shares=((0.0, 0.25, 0.4, 0.55, 0.7), (0.0, 0.4, 0.55, 0.7, 1.0)),
)  # fmt: skip


def bars_of(frame: pd.DataFrame) -> pf.Bars:
    gaps = frame.index.to_series().diff().to_numpy()
    return pf.Bars(frame, np.cumsum(gaps > np.timedelta64(5, "m")), "sha", fr.FILE)


@pytest.fixture(scope="module")
def bars() -> pf.Bars:
    frame = candles.synthetic(46 * 288, seed=0, interval="5min").candles
    time = pd.date_range("2022-01-01", periods=len(frame), freq="5min", tz="UTC", name="time")
    return bars_of(frame.set_axis(time)[list(candles.COLUMNS)])


@pytest.fixture(scope="module")
def real(bars) -> fm.Market:
    return fm.market(bars)


def test_every_picture_ends_when_the_hour_closes(real):
    assert len(real.time) > 400
    for name in fm.FRAMES:
        last = real.frames[name].frame.index[real.rows[name]] + pd.Timedelta(name)
        assert (last == real.time).all()
    hour = real.windows("1h", np.array([5]))[0]
    fives = real.frames["5min"].frame.loc[: real.time[5] - pd.Timedelta("5min")][-12:]
    assert hour[:, -1] == pytest.approx([
        fives["open"].iloc[0], fives["high"].max(), fives["low"].min(), fives["close"].iloc[-1],
        fives["volume"].sum(),
    ])  # fmt: skip


@pytest.mark.parametrize("minute", [0, 5, 40, 55])
def test_no_frame_sees_the_future(bars, real, minute):
    """Cut off or altered after any bar of an hour, what was known before stays as it was."""
    last = int(bars.frame.index.searchsorted(pd.Timestamp("2022-02-10 07:00", tz="UTC")))
    last += minute // 5
    closed = bars.frame.index[last] + pd.Timedelta("5min")
    for frame in (bars.frame[: last + 1], alter_future(bars.frame, last)):
        frames = fm.frames_of(bars_of(frame))
        rows = fm.aligned(frames)
        ends = frames["1h"].frame.index[rows["1h"]] + pd.Timedelta("1h")
        known = ends <= closed
        assert known.sum() > 900
        codes = fm.rules_of(frames["1h"])[rows["1h"]]
        mine = replace(real, frames=frames, rows=rows)
        whole = fm.frames_of(bars)
        every = replace(real, frames=whole, rows=fm.aligned(whole))
        for name in fm.FRAMES:
            chosen = np.flatnonzero(known)
            np.testing.assert_array_equal(mine.windows(name, chosen), every.windows(name, chosen))
        rules = fm.rules_of(whole["1h"])[every.rows["1h"]]
        np.testing.assert_array_equal(codes[known], rules[: len(codes)][known])
        labelled = fm.market(bars_of(frame))
        sure = labelled.time + pd.Timedelta(hours=fm.LABEL) <= closed
        np.testing.assert_array_equal(labelled.up[sure], real.up[: len(sure)][sure])


def test_states_are_filtered_and_fitted_on_the_past(real):
    hours = real.frames["1h"]
    whole = fm.states_of(hours, 600)
    cut = pf.Bars(hours.frame[:800], hours.stretch[:800], "", "")
    np.testing.assert_allclose(fm.states_of(cut, 600), whole[:800], equal_nan=True)
    np.testing.assert_allclose(whole[24:].sum(1), 1)


def test_nothing_bridges_a_hole(bars):
    lost = np.ones(len(bars.frame), bool)
    lost[20 * 288 + 7 : 20 * 288 + 9] = False  # two bars of the hour 00:00
    holed = fm.frames_of(bars_of(bars.frame[lost]))
    rows = fm.aligned(holed)
    for name in fm.FRAMES:
        index = holed[name].frame.index
        spans = index[rows[name]] - index[rows[name] - fm.LOOKBACK + 1]
        assert set(spans) == {(fm.LOOKBACK - 1) * pd.Timedelta(name)}
    time = holed["1h"].frame.index[rows["1h"]] + pd.Timedelta("1h")
    hole = bars.frame.index[20 * 288]
    assert not ((time > hole) & (time < hole + pd.Timedelta(hours=fm.LOOKBACK))).any()
    assert (time == hole).any()
    assert (time == hole + pd.Timedelta(hours=fm.LOOKBACK + 1)).any()
    with pytest.raises(StudyError, match="no hour"):
        fm.market(bars_of(bars.frame[: 100 * 12]))


def test_sets_share_no_bar(real):
    sets = fm.split(real, (0.0, 0.4, 0.55, 0.7, 1.0))
    for earlier, later in pairwise(sets):
        label = real.time[earlier[-1]] + pd.Timedelta(hours=fm.LABEL)
        assert label <= real.time[later[0]] - pd.Timedelta(hours=fm.LOOKBACK)
    assert sets[-1][-1] == len(real.time) - 1


@pytest.mark.parametrize("gain", [0.05, 0.12])
def test_the_planted_strength_is_the_claimed_gain(gain):
    strength = fm.strength_of(gain)
    both, one = fm.pooled_and_alone(strength)
    rng = np.random.default_rng(0)
    mark = rng.choice([-1, 1], (200_000, 3))
    up = rng.normal(size=len(mark)) < strength * mark.sum(1)
    assert both == pytest.approx(((mark.sum(1) > 0) == up).mean(), abs=0.004)
    assert one == pytest.approx(((mark[:, 0] > 0) == up).mean(), abs=0.004)
    assert both / one - 1 == pytest.approx(gain)


def test_planted_sides_keep_prices_and_need_the_regime(real):
    trend = np.isin(real.rules, fm.TRENDS)
    made = fm.planted(real, "rules", 0.9, 0, trend)
    a, b = real.frames[fm.ALONE].frame, made.frames[fm.ALONE].frame
    pd.testing.assert_frame_equal(a.drop(columns="volume"), b.drop(columns="volume"))
    mark = np.sign((b["volume"] / a["volume"]).to_numpy()[real.rows[fm.ALONE]] - 1)
    right = (mark > 0) == (made.up > 0)
    assert right[trend].mean() == pytest.approx(0.95, abs=0.05)
    assert right.mean() == pytest.approx(0.5, abs=0.08)
    every = fm.planted(real, "frames", 0.12, 1)
    marks = [
        np.sign(np.log(every.frames[n].frame["volume"] / real.frames[n].frame["volume"])
                .to_numpy()[real.rows[n]])
        for n in fm.FRAMES
    ]  # fmt: skip
    assert np.abs(np.corrcoef(marks)[np.triu_indices(3, 1)]).max() < 0.2


def test_only_validation_decides_pools(real):
    rng = np.random.default_rng(0)
    p, up = rng.uniform(0.2, 0.8, (2, 3, 300)), rng.integers(0, 2, 300).astype(float)
    p[:, 1, :100] = 0.3 + 0.4 * up[:100]  # the second frame is right on validation
    regime = rng.integers(0, 2, 300)
    made, chosen = fr.pools(p, up, regime, 100, SMALL)
    assert chosen["best"] == "15min"
    assert chosen["weights"][1] > 0.9
    other = np.r_[up[:100], 1 - up[100:]]
    again, same = fr.pools(p, other, regime, 100, SMALL)
    assert {k: v for k, v in same.items() if k != "agreement"} == {
        k: v for k, v in chosen.items() if k != "agreement"
    }
    for name in made:
        np.testing.assert_array_equal(made[name], again[name])
    changed = p.copy()
    changed[:, :, 200:] = 0.5
    later, _ = fr.pools(changed, up, regime, 100, SMALL)
    for name in made:
        np.testing.assert_array_equal(made[name][:, :200], later[name][:, :200])


def test_a_small_run_is_judged_whole_and_goes_on(real, tmp_path, monkeypatch):
    monkeypatch.setattr(pf, "DRAWS", 20)
    time = pd.date_range("2021-12-31", periods=300, freq="8h", tz="UTC").as_unit("ms")
    pd.DataFrame({"ts": time.astype("int64"), "rate": 1e-4}).to_parquet(tmp_path / pf.FUNDING)
    folds = {k: fr.fold_of(real, k, SMALL, tmp_path) for k in range(2)}
    for job in fr.jobs(2, SMALL):
        p, history = fr.fitted(job, folds[job.fold], SMALL, tmp_path)
        assert len(p) == sum(len(rows) for rows in folds[job.fold].sets[1:])
        assert bool(history) == (job.model == "nets")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("p.npy")}
    told = fr.verdict(real, 2, SMALL, tmp_path, tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("p.npy")}
    for model in fr.MODELS:
        assert set(told["rows"][model]) >= {*fr.NETS, *fr.POOLS}
        for row in told["comparisons"][model].values():
            assert row["low"] <= row["estimate"] <= row["high"]
            assert row["p"] <= row["p_holm"] <= 1
    assert {"class shares", "momentum", "always up"} <= set(told["rows"]["linear"])
    assert set(told["learned"]["real"]) == {*fr.NETS, "pool"}
    assert {len(tries["tries"]) for part in told["detectable"].values()
            for tries in part.values()} == {2}  # fmt: skip
