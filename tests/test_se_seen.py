"""Planting what the SE chapter claims: the follower of the signal earns it, and knows no future."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from setrade import candles, evidence


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "studies"))
    return importlib.import_module


@pytest.fixture
def se_seen(study):
    return study("se_seen")


@pytest.fixture(scope="module")
def bars():
    made = candles.synthetic(9_000, seed=3, interval="1h").candles
    return made.set_axis(
        pd.date_range("2022-01-01", periods=len(made), freq="h", tz="UTC", name="time")
    )


@pytest.fixture(scope="module")
def funding():
    return pd.Series(1e-4, pd.date_range("2022-01-01", "2024-12-31", freq="8h", tz="UTC"))


def test_the_signal_is_known_after_its_bar(se_seen, bars):
    cut = 4_000
    changed = bars.copy()
    changed.iloc[cut:, changed.columns.get_loc("volume")] *= 7
    assert np.array_equal(se_seen.signal(bars)[:cut], se_seen.signal(changed)[:cut])
    assert set(se_seen.signal(bars)[100:]) == {-1.0, 1.0}


@pytest.mark.parametrize(("figure", "claimed"), [("sharpe", 1.84), ("win_rate", 0.582)])
def test_the_planted_size_earns_the_claim(se_seen, bars, funding, figure, claimed):
    bars = evidence.plant(bars, 0.0, seed=1, block=24.0)  # its own signals cancel
    size = se_seen.planted_size(bars, funding, figure, claimed)
    s = se_seen.signal(bars)
    made = evidence.plant(bars, size, signal=s)
    assert se_seen.follower(made, s, funding)[figure] == pytest.approx(claimed, abs=0.05)
    assert 0 < size < 0.3


def test_a_market_that_pays_more_than_the_claim_is_named(se_seen, bars, funding):
    rich = evidence.plant(bars, 0.5, signal=se_seen.signal(bars))
    with pytest.raises(se_seen.StudyError, match="sharpe of 0.1"):
        se_seen.planted_size(rich, funding, "sharpe", 0.1)


def runs(data, net, seed, earned):
    """Return the rows of two folds that earn ``earned`` a day on average, and know nothing else."""
    rng, rows = np.random.default_rng([seed, len(data)]), []
    for fold in range(2):
        daily = earned + 0.01 * rng.standard_normal(250)
        measures = {
            **dict.fromkeys(("accuracy", "precision", "recall", "f1", "ic"), 0.0),
            "daily": daily.tolist(), "trades": 100, "wins": 55, "gain": 2.0, "loss": 1.0,
        }  # fmt: skip
        config = {"data": data, "model": net, "seed": seed, "fold": fold}
        rows.append({"config": config, "status": "ok", "measures": measures})
    return rows


@pytest.mark.parametrize(
    ("earned", "found"),
    [
        ({"none": 0.005, "mean": 0.02}, {"none": True, "mean": True, "gain": True}),
        ({"none": 0.005, "mean": 0.005}, {"none": True, "mean": True, "gain": False}),
        ({"none": 0.0, "mean": 0.02}, {"none": False, "mean": True, "gain": True}),
        ({"none": 0.02, "mean": 0.0}, {"none": True, "mean": False, "gain": False}),
    ],
)
@pytest.mark.parametrize("figure", ["sharpe", "max_drawdown"])
def test_what_counts_as_found(se_seen, figure, earned, found):
    rows = []
    for net in se_seen.NETS:
        rows += runs(f"{figure}/{net}", net, 0, earned[net]) + runs("real", net, 0, 0.0)
    told = {row: one["found"] for row, one in se_seen.judged(rows, figure, 0).items()}
    assert {k: told[k] for k in ("none", "mean")} == {k: found[k] for k in ("none", "mean")}
    if figure == "sharpe":
        assert told == found


def learning(row, moved):
    """Add to a row what its net learned, and gates that kept their order or turned it round."""
    gates = {
        "gates_start": [0.4, 0.5, 0.6],
        "gates_end": [0.6, 0.5, 0.4][:: -1 if not moved else 1],
    }
    costs = {f"daily_{name}": row["measures"]["daily"] for name in ("gross", "fees", "slippage")}
    how = {"val_loss": [0.9], "constant_loss": 1.0, "best_epoch": 1}
    squeezed = gates if row["config"]["model"] == "mean" else {}
    return row | {"measures": row["measures"] | how | squeezed | costs}


def test_at_another_rate_all_seeds_are_judged_together(study):
    se_moved = study("se_moved")
    rows = []
    for seed in range(3):
        for market, net in (("real", "none"), ("real", "mean"), *zip(
            se_moved.MARKETS[1:], se_moved.NETS, strict=True,
        )):  # fmt: skip
            earned = 0.02 if market == "sharpe/mean" else 0.0
            rows += [learning(r, moved=seed > 0) for r in runs(market, net, seed, earned)]
    told = se_moved.judged(rows)
    assert told["found"] is True
    assert told["claimed"]["gain"] == pytest.approx(0.63)
    gain = {name: told[name]["sharpe"]["mean"]["difference"] for name in ("real", "planted")}
    assert gain["real"]["low"] == gain["real"]["high"] == 0.0 < gain["planted"]["low"]
    assert told["learned"]["mean"]["gates"] == [1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    assert len(told["after_each_cost"]["verdicts"]) == 12
    for net in se_moved.NETS:
        planted, real = (told[kind]["sharpe"][net]["estimate"] for kind in ("planted", "real"))
        more = told["planted_less_real"][net]["sharpe"]
        assert more["estimate"] == planted
        assert more["difference"]["estimate"] == pytest.approx(planted - real)
    assert more["difference"]["low"] > 0


def test_planted_bars_that_are_no_longer_those_of_today_are_written_anew(
    se_seen, bars, funding, tmp_path
):
    sizes, where = se_seen.markets(bars, funding, tmp_path, ["win_rate"])
    stale = Path(where["win_rate/mean"].path)
    today = stale.read_bytes()
    stale.write_bytes(b"of another day")
    again = se_seen.markets(bars, funding, tmp_path, ["win_rate"])
    assert again[0] == sizes
    assert stale.read_bytes() == today
    assert again[1]["win_rate/mean"].sha256 == where["win_rate/mean"].sha256


def test_the_runs_at_another_rate_are_both_nets_on_both_kinds_of_bars(study):
    se_moved = study("se_moved")
    configs = se_moved.everything(10, 8)
    assert len(configs) == len({str(c) for c in configs}) == 320
    asked = {(c["data"], c["model"]) for c in configs}
    assert asked == {
        ("real", "none"), ("real", "mean"), ("sharpe/none", "none"), ("sharpe/mean", "mean"),
    }  # fmt: skip
