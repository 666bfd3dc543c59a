"""The study of a panel of coins: nothing bridges a hole or sees its future, missing coins named."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import panel_real as pr

from setrade import candles, training
from setrade.candles import CandleError
from setrade.errors import ArgumentError
from setrade.study import StudyError

pytestmark = pytest.mark.usefixtures("one_thread")
DAYS = 249


def rows(coin: str, seed: int, first: int = 0, n: int = DAYS) -> pd.DataFrame:
    """Return daily bars of 2024 of one coin as the file has them."""
    bars = candles.synthetic(n, seed=seed, interval="1D").candles.reset_index(drop=True)
    time = pd.date_range("2024-01-01", periods=first + n, freq="1D", tz="UTC")[first:]
    return bars.assign(symbol=coin, ts=time.as_unit("ms").astype("int64"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with twelve coins: one short, one late, one with a hole at bars 150-151."""
    parts = [rows(f"C{i:02d}USDT", i) for i in range(10)]
    parts += [rows("LATEUSDT", 11, 100, DAYS - 100), rows("SHORTUSDT", 12, DAYS - 30, 30)]
    parts[3] = parts[3].drop(index=[150, 151])
    out = tmp_path_factory.mktemp("panel")
    pd.concat(parts).to_parquet(out / pr.DAILY)
    return out


@pytest.fixture(scope="module")
def panel(folder) -> pr.Panel:
    return pr.load(folder / pr.DAILY)


def test_the_panel_names_what_is_missing(panel):
    assert panel.values.shape == (12, 5, DAYS)
    assert panel.lacks() == {"left_out": {"SHORTUSDT": 30}, "partial": {"LATEUSDT": 149}}
    assert np.isnan(panel.values[3, :, 150:152]).all()


def test_nothing_bridges_a_hole(panel):
    known = np.isfinite(panel.ahead(5))
    assert not known[3, 150 - 6 : 152 + 38].any()  # labels before it, windows after it
    assert known[3, 150 - 7]
    assert known[3, 152 + 38]
    assert not known[10, : 100 + 38].any()
    assert known[10, 100 + 38]
    assert not known[11].any()  # 30 bars hold no picture
    assert not known[:, DAYS - 6 :].any()  # no future yet


def test_a_return_is_from_the_next_open(panel):
    opens, ahead = panel.values[0, 0], panel.ahead(20)
    assert ahead[0, 60] == opens[81] / opens[61] - 1


@pytest.mark.parametrize("horizon", pr.HORIZONS)
@pytest.mark.parametrize("fold", [0, 1])
def test_sets_know_no_future(panel, horizon, fold):
    found = pr.sets(panel, pr.Run("daily", horizon, fold, 0), pr.Setting())
    begin = panel.time.searchsorted(pd.Timestamp(pr.FOLDS[fold][0], tz="UTC"))
    last = {name: getattr(found, name)[:, 1].max() for name in ("train", "validation", "test")}
    assert last["train"] + horizon <= found.validation[:, 1].min()  # exit at that bar's next open
    assert last["validation"] + horizon <= begin <= found.test[:, 1].min()
    assert last["test"] < panel.time.searchsorted(pd.Timestamp(pr.FOLDS[fold][1], tz="UTC"))
    assert set(found.y("test")) <= {0, 1}
    dates = np.unique(found.train[:, 1])
    assert (np.diff(dates) == 1).all()  # thinned coin by coin, so no date is lost
    for coin in np.unique(found.train[:, 0]):
        steps = np.diff(found.train[found.train[:, 0] == coin, 1])
        assert (steps % 4 == 0).all()


def test_an_empty_set_is_named(panel, folder):
    late = replace(panel, values=np.where(np.arange(DAYS) < 120, np.nan, panel.values))
    with pytest.raises(ArgumentError, match=r"^train.*real-daily-5-0-0"):
        pr.sets(late, pr.Run("daily", 5, 0, 0), pr.Setting())


def test_pictures_and_numbers_are_of_the_same_bars(panel):
    found = pr.sets(panel, pr.Run("daily", 5, 0, 0), pr.Setting())
    x, y = pr.Drawn(panel, found.test, found.y("test")).batch(torch.tensor([3, 0]))
    assert x.shape == (2, 1, 64, 60)
    assert y.tolist() == found.y("test")[[3, 0]].tolist()
    windows = panel.windows(found.test[[3, 0]])
    coin, bar = found.test[3]
    np.testing.assert_array_equal(windows[0], panel.values[coin, :, bar - 38 : bar + 1])
    z = pr.numbers(windows)
    assert z.shape == (2, 120)
    assert z.min() >= 0
    assert z.max() <= 1
    for k in range(2):  # an average in the middle of its own closes, in the units of the picture
        close, mean = z[k].reshape(6, 20)[3], z[k].reshape(6, 20)[4]
        assert mean[-1] == pytest.approx(close.mean(), abs=1e-5)


def test_planted_sides_are_foretold_as_often_as_asked(panel):
    ahead = panel.ahead(5)
    moved = pr.planted(panel, ahead, 0.625)
    known = np.isfinite(ahead) & (panel.past(5) != 0)
    np.testing.assert_allclose(np.abs(moved[known]), np.abs(ahead[known]))
    right = (np.sign(moved) == np.sign(panel.past(5)))[known].mean()
    assert abs(right - 0.625) < 0.03


def test_tables_find_what_the_plant_foretells(panel):
    moved = np.where(np.isfinite(panel.ahead(5)), pr.planted(panel, panel.ahead(5), 1.0), np.nan)
    dates = np.flatnonzero(np.isfinite(moved).sum(0) >= 10)[-60:]
    score = np.where(np.isfinite(moved), panel.past(5), np.nan)
    row = pr.money(score.T[dates], moved.T[dates], 5)
    assert row["gross_bps"]["low"] > 0
    assert row["p"] < 0.01
    assert row["net_bps"]["10"] < row["net_bps"]["5.5"] < row["gross_bps"]["estimate"]
    assert row["ic"] > 0.5
    blind = np.random.default_rng(0).normal(size=score.shape)
    none = pr.money(np.where(np.isfinite(moved), blind, np.nan).T[dates], moved.T[dates], 5)
    assert abs(none["ic"]) < 0.2


def test_a_killed_run_goes_on_and_other_data_is_refused(panel, folder, tmp_path, monkeypatch):
    setting = replace(pr.Setting(), num_epochs=1, strides=(64, 512), batch_size=16)
    run = pr.Run("daily", 5, 0, 0)
    monkeypatch.setattr(pr, "FOLDS", (("2024-06-01", "2024-06-04"), pr.FOLDS[1]))
    first, history = pr.train(run, folder, setting, tmp_path)
    assert len(history["val_loss"]) == 1
    again, _ = pr.train(run, folder, replace(setting, num_epochs=1), tmp_path)
    np.testing.assert_array_equal(first, again)
    assert ((first > 0) & (first < 1)).all()
    with pytest.raises(StudyError, match="lr"):
        pr.train(run, folder, replace(setting, lr=0.5), tmp_path)


def test_half_precision_stays_near(panel):
    training.seed_everything(0)
    whole = pr.net(half=False).eval()
    x = (torch.rand(2, 1, 64, 60) > 0.9).float()
    with torch.no_grad():
        torch.testing.assert_close(pr.Half(whole)(x), whole(x), rtol=0.1, atol=0.1)


def test_bad_panels_are_named(folder, tmp_path):
    raw = pd.read_parquet(folder / pr.DAILY)
    with pytest.raises(StudyError, match="no panel"):
        pr.load(tmp_path / pr.DAILY)
    raw.drop(columns="volume").to_parquet(tmp_path / "lacks.parquet")
    with pytest.raises(StudyError, match="volume"):
        pr.load(tmp_path / "lacks.parquet")
    late = raw.assign(ts=raw["ts"] + 366 * 86_400_000)
    late.to_parquet(tmp_path / "late.parquet")
    with pytest.raises(StudyError, match="reserved"):
        pr.load(tmp_path / "late.parquet")
    twice = pd.concat([raw, raw[raw["symbol"] == "C01USDT"].iloc[[5]]])
    twice.to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(ArgumentError, match="bars of C01USDT"):
        pr.load(tmp_path / "twice.parquet")
    wild = raw.assign(high=raw["high"].where(raw["symbol"] != "C02USDT", raw["low"] / 2))
    wild.to_parquet(tmp_path / "wild.parquet")
    with pytest.raises(CandleError):
        pr.load(tmp_path / "wild.parquet")


def test_every_net_of_the_question_is_there():
    names = [run.name for bars in pr.FILES for run in pr.runs(bars)]
    assert len(names) == len(set(names)) == 5 * 4 + 8 + 2 * 4
    assert sum(name.startswith("shuffled") for name in names) == 4
