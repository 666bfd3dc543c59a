"""What nets have to beat: fitted on training, chosen on validation, blind to the test."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from test_study import CONFIG, SMALL, hourly, row, saved

from setrade import labels
from setrade.costs import Costs
from setrade.errors import ArgumentError
from setrade.study import Data, StudyError, baselines, experiment, summary
from setrade.study.experiment import (
    BASELINES,
    RULES,
    TRADERS,
    Fold,
    folds,
    judge,
    money,
    positions,
    run_config,
)

NAMES = [(view, model) for view, models in BASELINES.items() for model in models]


@pytest.fixture
def fold(tmp_path) -> Fold:
    return folds(saved(hourly(), tmp_path / "a.parquet"), SMALL)[0]


def rates(tmp_path, rate: float = 0.001) -> Data:
    times = pd.date_range("2024-01-01", periods=120, freq="8h", tz="UTC")
    path = tmp_path / "funding.parquet"
    table = pd.DataFrame({"ts": times.as_unit("ms").asi8, "rate": rate})
    table.to_parquet(path)
    return Data.of(path)


@pytest.mark.parametrize(("view", "model"), NAMES)
def test_a_baseline_knows_nothing_of_what_follows_its_test(tmp_path, one_thread, view, model):
    bars = hourly()
    fold = folds(saved(bars, tmp_path / "a.parquet"), SMALL)[0]
    other = bars.copy()
    late = slice(fold.split.test[-1] + SMALL.horizon + 2, None)
    other.iloc[late] = bars.iloc[late].to_numpy() * 3.0
    altered = folds(saved(other, tmp_path / "b.parquet"), SMALL)[0]
    before, after = (experiment.train(f, view, model, seed=0)("test") for f in (fold, altered))
    np.testing.assert_allclose(after, before, atol=1e-7)
    assert before.shape == (len(fold.ends("test")), 3)
    np.testing.assert_allclose(before.sum(axis=1), 1.0)
    assert before.min() >= 0


@pytest.mark.parametrize("model", ["ridge", "logistic", "boosted"])
def test_models_on_numbers_find_what_is_there(fold, one_thread, model):
    """One channel tells the class of the bar; the others are noise."""
    rng = np.random.default_rng(0)
    truth = fold.truth.fillna(1.0).to_numpy()
    x = pd.DataFrame(rng.standard_normal((len(truth), 3)), fold.bars.index)
    x[1] = truth - 1 + 0.3 * x[1]
    predict, _ = baselines.fit(fold, model, x, 0)
    found = judge(fold, predict("validation"), predict("test"), Costs())
    assert found["accuracy"] > found["majority"] + 0.1
    assert found["log_loss"] < found["shares_log_loss"] - 0.1
    assert found["ic"] > 0.5


def test_noise_gets_the_strongest_penalty(fold):
    """Where channels say nothing, validation prefers a forecast that is almost the class shares."""
    x = pd.DataFrame(np.random.default_rng(0).standard_normal((len(fold.bars), 20)))
    predict, learned = baselines.fit(fold, "logistic", x, 0)
    assert learned["penalty"] == max(baselines.PENALTIES)
    assert np.abs(predict("test") - baselines.class_shares(fold)).max() < 0.05


def test_windows_by_hand():
    x = pd.DataFrame({"a": [1.0, 2.0, 6.0]})
    table = baselines.windows(x, 2)
    assert np.isnan(table[0, 1:]).all()
    assert table[2].tolist() == pytest.approx([6.0, 4.0, 8**0.5])


def test_rules_bet_with_or_against_the_last_move(fold, one_thread):
    past = fold.bars["close"].pct_change(SMALL.lookback).to_numpy()[fold.ends("test")]
    with_it, against = (
        experiment.train(fold, "rule", m, 0)("test") for m in ("momentum", "reversal")
    )
    assert (np.sign(with_it[:, 2] - with_it[:, 0]) == np.sign(past)).all()
    np.testing.assert_allclose(with_it[:, 2], against[:, 0])
    np.testing.assert_allclose(with_it[:, 1], against[:, 1])


def test_class_shares_never_trade_and_buy_and_hold_trades_once(tmp_path, one_thread):
    data = {"1h": saved(hourly(), tmp_path / "a.parquet")}
    run = partial(run_config, data=data, setting=SMALL)
    shares = run(CONFIG | {"view": "numbers", "model": "shares"})
    assert shares["trades"] == 0
    assert shares["log_loss"] == pytest.approx(shares["shares_log_loss"])
    hold = run(CONFIG | {"view": "rule", "model": "hold"})
    fold = folds(data["1h"], SMALL)[0]
    prices = fold.bars.iloc[fold.ends("test")]
    assert hold["trades"] == 1
    gross = np.prod(1 + np.array(hold["daily_gross"]))
    assert gross == pytest.approx(prices["close"].iloc[-1] / prices["open"].iloc[1], rel=1e-5)


def test_costs_are_charged_one_by_one(tmp_path, one_thread, fold):
    """A long pays funding, a short receives it; the steps are those of the table."""
    paid = rates(tmp_path).rates()
    index = fold.bars.index[fold.ends("test")]
    for side, sign in ((1.0, -1), (-1.0, 1)):
        found = money(fold, pd.Series(side, index), Costs(), paid)
        sums = [sum(found[f"daily_{step}"]) for step in ("gross", "fees", "slippage")]
        assert sums[0] > sums[1] > sums[2]
        assert np.sign(sum(found["daily"]) - sums[2]) == sign
    free = money(fold, pd.Series(1.0, index), Costs(), None)
    assert free["daily"] == free["daily_slippage"]


def test_a_run_says_how_its_net_learned(tmp_path, one_thread):
    data = {"1h": saved(hourly(), tmp_path / "a.parquet")}
    two = replace(SMALL, num_epochs=2, rules=RULES)
    found = run_config(CONFIG, data=data, setting=two, funding=rates(tmp_path))
    assert len(found["val_loss"]) == 2
    assert 0 < found["constant_loss"] < np.log(3) + 0.2
    assert len(found["gates_start"]) == len(found["gates_end"]) == len(experiment.CHANNELS)
    assert found["gates_start"] != found["gates_end"]
    assert set(found["rules"]) == set(RULES)
    assert found["rules"]["kept"]["daily"] == found["daily"]
    assert sum(n for _, n in found["by_year"].values()) == found["n"]
    bare = run_config(CONFIG | {"model": "none"}, data=data, setting=SMALL)
    assert "gates_start" not in bare


@pytest.mark.parametrize("model", ["lstm mean", "tanh", "tanh mean", "multi-scale"])
def test_every_net_of_the_chapter_runs(tmp_path, one_thread, model):
    data = {"1h": saved(hourly(), tmp_path / "a.parquet")}
    long = replace(
        SMALL, lookback=64, split="70/15/15", n_folds=1, span=("2024-01-05", "2024-02-04")
    )
    found = run_config(CONFIG | {"model": model}, data=data, setting=long)
    assert np.isfinite(found["constant_loss"])
    assert found["val_loss"][0] != found["constant_loss"]
    assert model in TRADERS


def test_seventy_fifteen_fifteen_of_the_span(tmp_path):
    data = saved(hourly(), tmp_path / "a.parquet")
    setting = replace(SMALL, split="70/15/15", n_folds=1, span=("2024-01-08", "2024-01-30"))
    (fold,) = folds(data, setting)
    assert fold.ends("train")[0] >= 7 * 24
    assert len(fold.ends("test")) / (22 * 24) == pytest.approx(0.15, abs=0.02)
    plain = labels.chronological(29 * 24, lookback=8, horizon=4, first=7 * 24, embargo=4)
    assert fold.ends("validation").tolist() == plain.validation.tolist()
    with pytest.raises(ArgumentError, match="n_folds"):
        folds(data, replace(setting, n_folds=2))
    with pytest.raises(ArgumentError, match="split"):
        folds(data, replace(setting, split="half"))


def test_three_ways_from_scores_to_positions(fold):
    n = len(fold.ends("test"))
    score = np.tile([0.9, 0.1, -0.5, 0.2], n)[:n]
    p = np.column_stack([np.maximum(-score, 0), 1 - np.abs(score), np.maximum(score, 0)])
    level = np.linspace(0, 1.0, 101)  # four fifths of these lie below 0.8: strong is above
    validation = np.column_stack([0 * level, 1 - level, level])
    soft = replace(fold, setting=replace(SMALL, quantile=0.4))
    ways = {rule: positions(soft, validation, p, rule).to_numpy() for rule in RULES}
    assert ways["kept"][:4].tolist() == [1, 1, -1, -1]
    assert ways["neutral"][:4].tolist() == [1, 0, -1, 0]
    assert ways["confidence"][:4] == pytest.approx([0.5 / 0.6, 0, -0.1 / 0.6, 0])
    with pytest.raises(ArgumentError, match="rule"):
        positions(fold, validation, p, "bold")


def test_funding_that_changed_or_is_none_is_refused(tmp_path):
    paid = rates(tmp_path)
    assert paid.rates().iloc[0] == 0.001
    rates(tmp_path, rate=0.002)
    with pytest.raises(StudyError, match="changed under the study"):
        Data(paid.path, paid.sha256[::-1]).rates()
    with pytest.raises(StudyError, match=r"lacks \['rate', 'ts'\]"):
        saved(hourly(), tmp_path / "bars.parquet").rates()


def test_a_models_own_seeds_and_none(tmp_path):
    rows = [row("net", s, f, [0.01, -0.01]) for s in range(2) for f in range(2)]
    rows += [row("ridge", 0, f, [0.02, 0.0]) for f in range(2)]
    every = summary.each_seed(rows)
    names, daily = summary.cube(every, "model", "daily")
    assert names == ["net", "ridge"]
    assert daily.shape == (2, 2, 4)
    np.testing.assert_array_equal(daily[1, 0], daily[1, 1])


def test_waterfall_of_runs_by_hand():
    steps = {
        "daily_gross": [0.02, 0.02],
        "daily_fees": [0.01, 0.02],
        "daily_slippage": [0.01, 0.01],
    }
    rows = [row("net", s, 0, [0.0, 0.01], **steps) for s in range(2)]
    found = summary.waterfall(rows, "model")["net"]
    means = {"gross": 0.02, "fees": -0.005, "slippage": -0.005, "funding": -0.005, "net": 0.005}
    assert found == pytest.approx({name: 365 * x for name, x in means.items()})


def test_by_year_and_learned_by_hand():
    first = {"by_year": {"2022": [0.1, 30], "2023": [0.0, 10]}}
    rows = [row("net", 0, 0, [0.0], **first), row("net", 0, 1, [0.0], by_year={"2023": [0.2, 30]})]
    years = summary.by_year(rows, "model")["net"]
    assert years == pytest.approx({"2022": 0.1, "2023": 0.15})
    curves = {"val_loss": [1.0, 0.9], "constant_loss": 0.95, "best_epoch": 2}
    gates = {"gates_start": [0.1, 0.2, 0.3], "gates_end": [0.3, 0.2, 0.1]}
    (found,) = summary.learned([row("net", 0, 0, [0.0], **curves, **gates)], "model").values()
    assert found["gain"] == pytest.approx([0.05])
    assert found["gates"] == [-1.0]
    assert "over_seeds" not in found  # one seed has no scatter
    assert summary.learned([row("rule", 0, 0, [0.0])], "model") == {}


@pytest.mark.parametrize(("lost", "word"), [(0.93, "learned"), (1.1, "not learned")])
def test_learned_over_seeds_takes_each_seed_as_the_mean_of_its_folds(lost, word):
    gates = {"gates_start": [0.1, 0.2, 0.3], "gates_end": [0.3, 0.1, 0.2]}
    rows = [
        row(
            "net",
            seed,
            fold,
            [0.0],
            val_loss=[9.0, loss],
            constant_loss=0.95,
            best_epoch=2,
            **gates,
        )
        for seed, losses in enumerate([(0.8, 1.0), (0.82, lost)])
        for fold, loss in enumerate(losses)
    ]
    over = summary.learned(rows, "model")["net"]["over_seeds"]
    assert over["gain"] == pytest.approx(0.95 - (0.9 + (0.82 + lost) / 2) / 2)
    assert (over["word"], over["seeds"], over["gates"]) == (word, 2, "moved")
