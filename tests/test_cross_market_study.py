"""The study of many markets: nothing looks ahead, cells hold what they say, plants show."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import cross_market as cm

pytestmark = pytest.mark.usefixtures("one_thread")
HOURS, COINS = 1_500, 8


def written(path: Path, hours: int) -> Path:
    """Write candles of a market with a common factor; the last coin is listed late."""
    rng = np.random.default_rng(0)
    wild = np.exp(np.sin(np.arange(HOURS) / 60))[:, None]
    r = 0.005 * wild * (rng.normal(size=(HOURS, 1)) + rng.normal(size=(HOURS, COINS)))
    close = 100 * np.exp(r.cumsum(0))
    opened = np.vstack([np.full((1, COINS), 100.0), close[:-1]])
    noise = 1 + np.abs(rng.normal(0, 0.002, r.shape))
    volume = np.exp(rng.normal(5, 1, r.shape))
    stamps = 1_715_000_400_000 // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(HOURS)
    frames = []
    for i in range(COINS):
        part = slice(300 if i == COINS - 1 else 0, hours)
        bar = {"open": opened, "close": close, "volume": volume}
        bar["high"] = np.maximum(opened, close) * noise
        bar["low"] = np.minimum(opened, close) / noise
        columns = {k: v[part, i] for k, v in bar.items()}
        frames.append(pd.DataFrame({"symbol": f"C{i}USDT", "ts": stamps[part], **columns}))
    pd.concat(frames).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> cm.Examples:
    return cm.examples(written(tmp_path_factory.mktemp("panel") / "a.parquet", HOURS))


def test_windows_do_not_look_ahead_and_outcomes_lie_ahead(market, tmp_path):
    part = cm.examples(written(tmp_path / "b.parquet", 1_000))
    n = len(part.ends)
    assert part.ends[-1] + cm.HORIZON < 1_000
    for name in ("windows", "past", "move", "volatility"):
        a, b = getattr(part, name), getattr(market, name)[:n]
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not market.at[market.ends < 300 + cm.WEEK, -1].any()
    assert market.at[3:, 0].all()


def test_scores_by_hand(market):
    oracle = cm.table(market, "way", [market.move] * cm.FOLDS)
    for cell in oracle.values():
        assert cell["mean"] == 0.5
    known = cm.table(market, "volatility", [market.volatility] * cm.FOLDS)
    none = np.full_like(market.move, np.nan)
    assert cm.table(market, "way", [none] * cm.FOLDS)["new coins, new time"] is None
    gap = cm.table(market, "volatility", [market.volatility] * cm.FOLDS,
                   less=[market.past[..., 1]] * cm.FOLDS)  # fmt: skip
    assert gap["new coins, new time"]["mean"] > 0
    assert known["new coins, seen time"]["mean"] > 0.8


def test_what_is_common_and_what_is_a_coins_own(market):
    others, own = cm.common(market)
    np.testing.assert_allclose(np.nanmedian(np.sign(own[5:, :-1]), 1), 0, atol=1)
    share = (own[market.at & np.isfinite(own)] > 0).mean()
    assert share == pytest.approx(0.5, abs=0.02)
    right = np.sign(others) == np.sign(market.move)
    assert right[market.at].mean() > 0.65  # coins share half of their variance


def test_each_coin_is_new_once_and_validation_is_seen(market):
    for fold in cm.folds(market):
        for stop in ("time", "coins"):
            late = cm.validation(market, fold, stop, 0)
            assert late.any()
            assert not (late & ~fold.cell("seen", "seen")).any()


def test_the_net_learns_volatility_of_coins_that_it_never_saw(market, monkeypatch):
    """Time is cut early here, since there are two months only."""
    monkeypatch.setattr(cm, "NEW_TIME", market.stamps[130])
    monkeypatch.setattr(cm, "WEEK", 16)

    def early(x, fold, stop, seed):
        out = fold.cell("seen", "seen") & x.at
        out[:90] = False
        return out

    monkeypatch.setattr(cm, "validation", early)
    fold = cm.folds(market)[0]
    told = cm.taught(market, "volatility", fold, 0, 2, "coins")
    new = fold.cell("new", "seen") & market.at
    assert set(told) == {"gain", "epoch", "zero", "mean"}
    assert np.isfinite(told["zero"][market.at]).all()
    assert np.corrcoef(told["mean"][new], market.volatility[new])[0, 1] > 0.3


def test_a_rule_pays_for_its_turns():
    stamps = pd.date_range("2024-01-01", periods=400, freq="15min", tz="UTC")
    first = pd.Series(np.where(np.arange(400) // 2 % 2 == 0, 1.0, -1.0), stamps)
    second = 0.001 * first.shift(1, fill_value=0.0)
    second += np.random.default_rng(0).normal(0, 0.01, 400)
    played = cm.rule(first, second, 1, 1.0)
    assert played["gross"] > 0 > played["net"]
    assert played["turnover"] == pytest.approx((1 + 2 * 199) / 400 * 365 * 96)


def test_pairs_share_no_hours(market):
    row, _ = np.nonzero(market.at)
    pairs = cm.pairs(market, np.arange(len(row)), 100, np.random.default_rng(0))
    apart = np.abs(np.diff(market.ends[row[pairs]], axis=1))
    assert len(pairs) == 200
    assert apart.min() >= cm.LOOKBACK + cm.HORIZON


def test_twins_at_one_place_have_no_distance():
    net, x = cm.Twin(), torch.randn(5, 3, cm.LOOKBACK)
    torch.testing.assert_close(net((x, x)), torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(net.embed(x).norm(dim=1), torch.ones(5))
