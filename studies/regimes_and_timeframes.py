"""Chapter 16's figures: regimes with hindsight and without, and several timeframes together.

    SETRADE_DATA=<folder> make study STUDY=regimes_and_timeframes

The folder holds the two parquet files named below. On hourly bars the nets train up to the end
of 2022, stop early on the first half of 2023, the pool's weights and the choices come from the
second half (regimes: from all bars before 2024), and 2024 is used once. The 15-minute bars
begin in May 2024: they train to September, stop and choose in October, and the last two months
are their test, with every setting as fixed for the hourly bars.
Settings were fixed before 2024 was looked at: 3 states and 24 bars a row for their durations
of days (on bars before 2023), momentum at its defaults, three seeds a net. The study ran twice:
in between, the Markov model's first start was mended, because it missed regimes on planted
markets; the forecasters and the pools did not change.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from setrade import (
    backtest,
    candles,
    channels,
    evidence,
    labels,
    metrics,
    regimes,
    results,
    signals,
    training,
)
from setrade.models import SETrader
from setrade.models.se_trader import NowAndLater, TemporalRegimes, regime_loss
from setrade.models.timeframes import TimeframeEnsemble, agreement_rate, align
from setrade.study.experiment import CHANNELS
from setrade.study.store import HOURS, QUARTERS, REQUESTS
from setrade.study.summary import t_interval

COMMAND = "SETRADE_DATA=<folder> make study STUDY=regimes_and_timeframes"
WINDOW, STATES, RESTARTS = 24, 3, 3
TRAP = {"n_bars": 10_000, "window": 12, "states": 3}
LATER, LOOKBACK = 24, 24
DAY, YEAR_HOURS = 24, 8_760
SPLITS = {  # train until, stop early until, learn weights until, test until the end
    "1h": ("2023-01-01", "2023-07-01", "2024-01-01"),
    "15min": ("2024-10-01", "2024-10-16", "2024-11-01"),
}
POOLS = {"1h": (("1h", "4h", "12h"), "12h"), "15min": (("15min", "1h", "4h"), "4h")}


def interval(values: list[float]) -> dict[str, float]:
    """Return mean and 95 % t interval over independent markets."""
    return dict(zip(("mean", "low", "high"), t_interval(values), strict=True))


def follow(states: np.ndarray) -> np.ndarray:
    """Return -1 in the falling state (0), 0 in the flat one, +1 in the rising one."""
    return states - 1.0


def trap_market(seed: int) -> dict[str, float]:
    """Return Sharpe ratios after fees on one random walk: hindsight against filtering."""
    bars = regimes.planted(TRAP["n_bars"], seed=seed).candles
    half, window = len(bars) // 2, TRAP["window"]
    out = {}
    for fitted, train in (("half", bars[:half]), ("all", bars)):
        model = regimes.fit_hmm(train, TRAP["states"], window=window, order="move", restarts=1)
        rows, peer = model.rows(bars)[window:], model.to_hmmlearn()
        paths = {"viterbi": peer.predict(rows), "smoothed": peer.predict_proba(rows).argmax(1)}
        paths["filtered"] = model.regime(bars).cat.codes.to_numpy()[window:]
        for name, states in paths.items():
            wanted = follow(states)[half - window :]
            run = backtest.run(bars[half:], wanted)
            out[f"{name}_{fitted}"] = run.metrics()["sharpe"]
            out[f"{name}_{fitted}_equity"] = float(run.equity.iloc[-1])
    return out


def trap(seeds: int) -> dict[str, Any]:
    """Return the trap on many random walks."""
    rows = [trap_market(seed) for seed in tqdm(range(seeds), desc="random walks")]
    summary = {name: interval([row[name] for row in rows]) for name in rows[0]}
    return {"parameters": TRAP, "rows": rows, "summary": summary}


def read(folder: Path, name: str) -> pd.DataFrame:
    """Return one file's candles, five columns."""
    return candles.read(folder / name)[list(candles.COLUMNS)]


def hindsight(model: regimes.HMM, bars: pd.DataFrame) -> pd.Series:
    """Return the most likely path given all of ``bars``: a label, never an input."""
    path = model.to_hmmlearn().predict(model.rows(bars)[model.window :])
    codes = np.r_[np.full(model.window, -1), path]
    kind = pd.CategoricalDtype(list(model.names))
    return pd.Series(pd.Categorical.from_codes(codes, dtype=kind), bars.index, name="regime")


def train_temporal(bars: pd.DataFrame, truth: pd.Series, stops: tuple[int, int], seed: int):
    """Return (net, inputs): trained on bars before ``stops[0]``, stopped on those up to [1]."""
    x = pd.concat([regimes.observations(bars, w) for w in (1, WINDOW)], axis=1)
    x = channels.Standardizer().fit(x.iloc[WINDOW : stops[0]]).transform(x)
    codes = truth.cat.codes.to_numpy().astype(float)
    first, gap = WINDOW + LOOKBACK - 1, LATER + 3 * DAY  # hindsight settles within days
    parts = [np.arange(first, stops[0] - gap), np.arange(stops[0] + LOOKBACK, stops[1] - gap)]
    sets = []
    for ends in parts:
        windows = training.WindowSet(x, codes.clip(0), ends, LOOKBACK)
        sets.append(NowAndLater(windows, codes, ends, LATER))
    training.seed_everything(seed)
    net = TemporalRegimes(x.shape[1], len(truth.cat.categories))
    plan = training.Plan(num_epochs=8, lr=2e-3, batch_size=256, patience=3, seed=seed)
    training.fit(net, *sets, plan=plan, loss=regime_loss, progress=False)
    return net, x


def named(net: TemporalRegimes, x: pd.DataFrame, ends: np.ndarray) -> np.ndarray:
    """Return the codes (m, 2) that the net names at ``ends``: now and later."""
    windows = training.WindowSet(x, np.zeros(len(x)), ends, LOOKBACK)
    return training.predict(net, windows).argmax(2).numpy()


def hits(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return 1.0 where right."""
    return (said == truth).astype(float)


def better(first: np.ndarray, second: np.ndarray, seed: int, block: float) -> dict[str, float]:
    """Return the paired difference of means with its interval."""
    d = evidence.paired_difference(np.mean, first, second, seed=seed, block=block)
    return {"mean": d.estimate, "low": d.low, "high": d.high}


def agreements(labellings: dict[str, pd.Series], match: bool) -> dict[str, Any]:
    """Return adjusted Rand index and kappa of every pair."""
    names, out = list(labellings), {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            found = regimes.agreement(labellings[a], labellings[b], match=match)
            out[f"{a} / {b}"] = {
                "rand": found.rand, "kappa": found.kappa, "bars": found.bars,
                "confusion": found.confusion.to_dict(orient="split", index=True),
            }  # fmt: skip
    return out


def judge_temporal(
    bars: pd.DataFrame, truth: pd.Series, model: regimes.HMM, stops: tuple[int, int],
    test: np.ndarray, label: pd.Series, seed: int,
) -> tuple[dict[str, Any], pd.Series]:  # fmt: skip
    """Return accuracies now and later against persistence, and the net's labels on ``test``."""
    net, x = train_temporal(bars, label, stops, seed)
    said, codes = named(net, x, test), truth.cat.codes.to_numpy()
    filtered = model.filtered(bars)
    now = filtered.to_numpy().argmax(1)[test]
    ahead = model.ahead(filtered, LATER).to_numpy().argmax(1)[test]
    right = {
        "net_now": hits(said[:, 0], codes[test]), "hmm_now": hits(now, codes[test]),
        "net_later": hits(said[:, 1], codes[test + LATER]),
        "hmm_later": hits(ahead, codes[test + LATER]),
        "persistence_later": hits(now, codes[test + LATER]),
    }  # fmt: skip
    out: dict[str, Any] = {name: value.mean() for name, value in right.items()}
    out["majority_later"] = np.bincount(codes[test + LATER]).max() / len(test)
    out["net_less_hmm_now"] = better(right["net_now"], right["hmm_now"], seed, 7 * DAY)
    for name in ("net", "hmm"):
        pair = right[f"{name}_later"], right["persistence_later"]
        out[f"{name}_less_persistence"] = better(*pair, seed, 7 * DAY)
    kind = pd.CategoricalDtype(list(truth.cat.categories))
    named_now = pd.Categorical.from_codes(said[:, 0], dtype=kind)
    return out, pd.Series(named_now, bars.index[test])


def known_truth(seed: int) -> dict[str, Any]:
    """Compare rules, HMM and net where the regimes are planted."""
    market = regimes.planted(20_000, seed=seed, volatility=(0.001, 0.0017, 0.0029), stay=0.99)
    bars, stops = market.candles, (12_000, 15_000)
    model = regimes.fit_hmm(bars[: stops[0]], STATES, window=12, restarts=RESTARTS, seed=seed)
    label = market.regime.cat.rename_categories(list(model.names))
    test = np.arange(stops[1] + LOOKBACK, len(bars) - LATER)
    out, named_now = judge_temporal(bars, label, model, stops, test, label, seed)
    said = {
        "truth": label.iloc[test], "HMM": model.regime(bars).iloc[test], "net": named_now,
        "rules": regimes.by_rules(bars).iloc[test],
    }  # fmt: skip
    return {"temporal": out, "agreement": agreements(said, match=False)}


def describe(model: regimes.HMM, regime: pd.Series) -> dict[str, Any]:
    """Return transitions with intervals, durations by formula and by count, shares."""
    matrix = regimes.transition_matrix(regime)
    runs = regimes.spells(regime).iloc[1:-1]
    return {
        "log_likelihoods": model.log_likelihoods,
        "means": model.means, "transition": model.transition,
        "intervals": regimes.transition_intervals(regime).reset_index().to_dict("records"),
        "expected_bars": regimes.expected_duration(matrix).to_dict(),
        "model_bars": (1 / (1 - np.diag(model.transition))),
        "mean_spell": runs.groupby("regime", observed=True)["bars"].mean().to_dict(),
        "median_spell": runs.groupby("regime", observed=True)["bars"].median().to_dict(),
        "stationary": regimes.stationary(matrix).to_dict(),
    }  # fmt: skip


def real_regimes(bars: pd.DataFrame, seed: int) -> tuple[dict[str, Any], regimes.HMM]:
    """Fit on bars before 2023, describe on bars before 2024, compare on 2024."""
    years = pd.DatetimeIndex(["2023-01-01", "2024-01-01"], tz="UTC")
    first, second = bars.index.searchsorted(years)
    stops = int(first), int(second)
    model = regimes.fit_hmm(bars[: stops[0]], STATES, window=WINDOW, restarts=RESTARTS, seed=seed)
    filtered, rules = model.regime(bars), regimes.by_rules(bars)
    past = hindsight(model, bars[: stops[0]]).to_numpy()
    later = hindsight(model, bars[: stops[1]]).to_numpy()[stops[0] :]
    label = pd.Series(np.r_[past, later], bars.index[: stops[1]]).reindex(bars.index)
    label = label.astype(pd.CategoricalDtype(list(model.names)))
    truth, test = hindsight(model, bars), np.arange(stops[1] + LOOKBACK, len(bars) - LATER)
    out, named_now = judge_temporal(bars, truth, model, stops, test, label, seed)
    said = {"hindsight": truth.iloc[test], "HMM": filtered.iloc[test], "net": named_now,
            "rules": rules.iloc[test]}  # fmt: skip
    told = {
        "before_2024": describe(model, filtered.iloc[: stops[1]]),
        "rules_2024": rules.iloc[test].value_counts(normalize=True).to_dict(),
        "agreement_2024": agreements(said, match=False), "temporal_2024": out,
        "parameters": {"states": STATES, "window": WINDOW, "restarts": RESTARTS, "later": LATER},
    }  # fmt: skip
    return told, model


def earned(bars: pd.DataFrame, wanted: pd.Series) -> tuple[pd.Series, dict[str, float]]:
    """Return the account's return in each bar (0 in the first) and its figures, costs paid."""
    run = backtest.run(bars, wanted)
    return run.equity.pct_change().fillna(0.0), run.metrics()


def compare(
    bars: pd.DataFrame, wanted: dict[str, pd.Series], base: str, where: pd.Series, seed: int
) -> dict[str, Any]:
    """Return every position's figures and its paired differences to ``base``, after fees."""
    got = {name: earned(bars, position) for name, position in wanted.items()}
    periods = metrics.periods_per_year(bars.index)  # type: ignore[arg-type]
    names = ("annual_return", "sharpe", "max_drawdown", "turnover", "exposure")
    out: dict[str, Any] = {n: {m: fig[m] for m in names} for n, (_, fig) in got.items()}
    plain = got[base][0].to_numpy()[1:]
    trending = where.shift(1, fill_value=False).to_numpy()[1:]
    for name, (made, _) in got.items():
        if name == base:
            continue
        mine = made.to_numpy()[1:]
        for figure, scale in (("sharpe", np.sqrt(periods)), ("yearly_mean", periods)):
            statistic = evidence.sharpe if figure == "sharpe" else np.mean
            d = evidence.paired_difference(statistic, mine, plain, seed=seed, block=7 * DAY)
            out[name][f"{figure}_less_{base}"] = [scale * v for v in (d.estimate, d.low, d.high)]
        if trending.any():
            pair = np.where(trending, mine, 0.0), np.where(trending, plain, 0.0)
            d = evidence.paired_difference(np.mean, *pair, seed=seed, block=7 * DAY)
            out[name]["trending_yearly_mean"] = [periods * v for v in (d.estimate, d.low, d.high)]
    return out


def conditioning(bars: pd.DataFrame, model: regimes.HMM, seed: int) -> dict[str, Any]:
    """Gate momentum by regime; which regimes count is learned before 2024."""
    position, rules = signals.momentum(bars), regimes.by_rules(bars)
    start = pd.Timestamp("2024-01-01", tz="UTC")
    before, after = bars.index < start, bars.index >= start
    returns = earned(bars[before], position[before])[0]
    wanted, weights = {"always": position}, {}
    for name, regime in (("hmm", model.regime(bars)), ("rules", rules)):
        weights[name] = signals.choose_regimes(returns, regime[before])
        wanted[name] = signals.gate_by_regime(position, regime, weights[name])
    where = rules.isin(["trending_up", "trending_down"])
    spans = {"before_2024": before, "year_2024": after}
    told = {
        span: compare(bars[mask], {n: p[mask] for n, p in wanted.items()}, "always",
                      where[mask], seed)
        for span, mask in spans.items()
    }  # fmt: skip
    return {"weights": weights, **told}


def frame_forecast(
    bars: pd.DataFrame, horizon: int, cuts: list[pd.Timestamp], seeds: range
) -> tuple[pd.DataFrame, list[float]]:
    """Return P(sell, hold, buy) after every bar from three nets' mean, and epochs kept."""
    x = channels.compute(bars, scale_free=True)[list(CHANNELS)]
    first = int(x.notna().all(axis=1).to_numpy().argmax())
    y = labels.sell_hold_buy(labels.forward_return(bars, horizon))
    last = len(bars) - horizon - 1
    edges = [int(bars.index.searchsorted(cut)) for cut in cuts[:2]]
    x = channels.Standardizer().fit(x.iloc[first : edges[0]]).transform(x)
    train = np.arange(first + LOOKBACK - 1, edges[0] - LOOKBACK - horizon)
    watch = np.arange(edges[0], min(edges[1] - horizon - 1, last))
    everything = np.arange(first + LOOKBACK - 1, len(bars))
    total, kept = np.zeros((len(everything), 3)), []
    for seed in seeds:
        training.seed_everything(seed)
        net = SETrader(len(CHANNELS), hidden=16, dropout=0.1)
        sets = [training.WindowSet(x, y, ends, LOOKBACK) for ends in (train, watch)]
        plan = training.Plan(num_epochs=10, lr=5e-4, batch_size=256, patience=3, seed=seed)
        history = training.fit(net, *sets, plan=plan, progress=False)
        kept.append(history.best_epoch)
        out = training.predict(net, training.WindowSet(x, y.fillna(1), everything, LOOKBACK))
        total += out.softmax(1).double().numpy() / len(seeds)
    total /= total.sum(axis=1, keepdims=True)
    return pd.DataFrame(total, bars.index[everything], ["sell", "hold", "buy"]), kept


def log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return each bar's log loss in nats."""
    return -np.log(p[np.arange(len(y)), y])


def relative(first: np.ndarray, second: np.ndarray, seed: int, block: int) -> dict[str, float]:
    """Return mean(first) / mean(second) - 1 with its interval, on the same histories."""

    def ratio(v: np.ndarray) -> float:
        return float(v[:, 0].mean() / v[:, 1].mean() - 1)

    got = evidence.interval(ratio, np.column_stack([first, second]), seed=seed, block=block)
    return {"mean": got.estimate, "low": got.low, "high": got.high}


def pool(frames: dict[str, pd.DataFrame], base: str, seed: int) -> dict[str, Any]:
    """Train a forecaster a frame, pool them, and compare on the test span."""
    names, ahead = POOLS[base]
    cuts = [pd.Timestamp(t, tz="UTC") for t in SPLITS[base]]
    length = pd.Timedelta(ahead)
    made = {
        n: frame_forecast(frames[n], int(length / pd.Timedelta(n)), cuts, range(seed, seed + 3))
        for n in tqdm(names, desc=f"frames over {base}")
    }
    bars, horizon = frames[base], int(length / pd.Timedelta(base))
    p = align({n: forecast for n, (forecast, _) in made.items()}, pd.DatetimeIndex(bars.index))
    y = labels.sell_hold_buy(labels.forward_return(bars, horizon)).to_numpy()
    whole = np.isfinite(p).all(axis=(1, 2))
    use = whole & np.isfinite(y)
    weigh = np.flatnonzero(use & (bars.index >= cuts[1]) & (bars.index < cuts[2]))[: -horizon - 1]
    test = np.flatnonzero(use & (bars.index >= cuts[2]))
    pooled = TimeframeEnsemble.fit(names, p[weigh], y[weigh])
    said = {n: p[:, i] for i, n in enumerate(names)}
    losses = {n: float(log_loss(q[weigh], y[weigh].astype(int)).mean()) for n, q in said.items()}
    for name, mixed in (("equal", TimeframeEnsemble.equal(names)), ("learned", pooled)):
        said[name] = np.full_like(p[:, 0], np.nan)
        said[name][whole] = mixed.combine(p[whole])
    told = forecasts(said, y, test, losses, 6 * horizon, seed)
    told["money"] = money(bars, p, said, cuts[2], losses, seed)
    return told | {
        "weights": dict(zip(names, pooled.weights, strict=True)),
        "validation_log_loss": losses,
        "epochs_kept": {n: kept for n, (_, kept) in made.items()},
        "agreement_rate": agreement_rate(p[test]), "horizon": ahead, "bars": len(test),
        "spans": {"train_until": SPLITS[base][0], "stop_until": SPLITS[base][1],
                  "weights_until": SPLITS[base][2], "test_until": str(bars.index[-1])},
    }  # fmt: skip


def forecasts(
    said: dict[str, np.ndarray], y: np.ndarray, test: np.ndarray, losses: dict[str, float],
    block: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Return accuracy and log loss of each forecaster; the pools against every frame."""
    truth = y[test].astype(int)
    right = {n: hits(q[test].argmax(1), truth) for n, q in said.items()}
    loss = {n: log_loss(q[test], truth) for n, q in said.items()}
    out: dict[str, Any] = {
        "accuracy": {n: v.mean() for n, v in right.items()},
        "log_loss": {n: v.mean() for n, v in loss.items()},
        "majority": float(np.bincount(truth).max() / len(truth)),
        "classes": np.bincount(truth, minlength=3) / len(truth),
        "best_frame_on_validation": least(losses),
        "pairs": {},
    }
    for one, others in (("learned", (*losses, "equal")), ("equal", tuple(losses))):
        for other in others:
            out["pairs"][f"{one} / {other}"] = {
                "accuracy": better(right[one], right[other], seed, block),
                "relative_accuracy": relative(right[one], right[other], seed, block),
                "log_loss": better(loss[one], loss[other], seed, block),
            }
    return out


def least(losses: dict[str, float]) -> str:
    """Return the frame of the lowest loss; one that diverged (NaN) never wins."""
    return min(losses, key=lambda name: np.nan_to_num(losses[name], nan=np.inf))


def money(
    bars: pd.DataFrame, p: np.ndarray, said: dict[str, np.ndarray], start: pd.Timestamp,
    losses: dict[str, float], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Trade the sign of P(buy) - P(sell) of each, and of the pool where all frames agree."""
    wanted = {n: pd.Series(np.sign(q[:, 2] - q[:, 0]), bars.index) for n, q in said.items()}
    moves = np.sign(p[:, :, 2] - p[:, :, 0])
    same = (moves == moves[:, :1]).all(axis=1)
    wanted["unanimous"] = wanted["learned"].where(same, 0.0)
    test = bars.index >= start
    best = least(losses)
    spans = {n: w[test].fillna(0.0) for n, w in wanted.items()}
    nothing = pd.Series(False, bars.index)[test]
    return {"base": best} | compare(bars[test], spans, best, nothing, seed)


def claim(figures: dict[str, float], claimed: float | None, what: str) -> dict[str, Any]:
    """Return one row of the claims ledger."""
    row = {"claimed": claimed, "measured": figures["mean"]}
    return row | {"low": figures["low"], "high": figures["high"], "what": what}


def claims(out: dict[str, Any]) -> dict[str, Any]:
    """Return what the chapter we started from claims beside what was measured."""
    table: dict[str, Any] = {}
    names: list[str] = ["mean", "low", "high"]
    spans = {"ensemble_1h": "2024, hourly base", "ensemble_15min": "Nov-Dec 2024, 15-minute base"}
    for key, span in spans.items():
        part, best = out[key], out[key]["best_frame_on_validation"]
        for other in part["validation_log_loss"]:
            mark = " (best on validation)" if other == best else ""
            table[f"{key}_over_{other}"] = claim(
                part["pairs"][f"learned / {other}"]["relative_accuracy"], 0.12,
                "Relative gain in three-class accuracy of the learned pool over the "
                f"{other} frame{mark}, {span}.",
            )  # fmt: skip
        gain = dict(zip(names, part["money"]["learned"][f"sharpe_less_{best}"], strict=True))
        what = f"Difference in yearly Sharpe ratio after fees, pool less {best} frame, {span}."
        table[f"{key}_sharpe"] = claim(gain, None, what)
    fields = {"all": "yearly_mean_less_always", "trending": "trending_yearly_mean"}
    for name in ("hmm", "rules"):
        for where, field in fields.items():
            gain = dict(zip(names, out["conditioning"]["year_2024"][name][field], strict=True))
            what = (f"Difference in mean yearly return after fees, momentum gated by {name} "
                    f"regimes less momentum always, 2024, {where} bars.")  # fmt: skip
            table[f"conditioning_{name}_{where}"] = claim(gain, 0.15, what)
    return table


PARTS = ("trap", "planted", "regimes", "pools")


def compute(parts: list[str], out: dict[str, Any], folder: Path, walks: int, seed: int) -> None:
    """Fill ``out`` with the parts asked for; what it has of the others stays."""
    hours, quarters = read(folder, HOURS), read(folder, QUARTERS)
    if "trap" in parts:
        out["trap"] = trap(walks)
    if "planted" in parts:
        out["planted"] = known_truth(seed)
    if "regimes" in parts:
        out["regimes"], model = real_regimes(hours, seed)
        out["conditioning"] = conditioning(hours, model, seed)
    if "pools" in parts:
        longer = {n: candles.resample(hours, n) for n in ("4h", "12h")}
        out["ensemble_1h"] = pool({"1h": hours} | longer, "1h", seed)
        out["ensemble_15min"] = pool({"15min": quarters, "1h": hours} | longer, "15min", seed)
    out["claims"] = claims(out)


def main() -> None:
    """Run all parts, or some of them, and store them."""
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--walks", type=int, default=20, help="random walks of the trap")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS),
                        help="compute these parts, keep the stored ones of the others")  # fmt: skip
    args = parser.parse_args()
    if "SETRADE_DATA" not in os.environ:
        raise SystemExit(f"set SETRADE_DATA to the folder that holds {HOURS} and {QUARTERS}")
    torch.set_num_threads(1)
    folder, begin = Path(os.environ["SETRADE_DATA"]), time.perf_counter()
    whole = set(args.only) == set(PARTS)
    old = {} if whole else results.load("regimes_and_timeframes")
    out: dict[str, Any] = {**old.get("results", {}), "requests": REQUESTS}
    compute(args.only, out, folder, args.walks, args.seed)
    shas = {name: results.sha256(folder / name) for name in (HOURS, QUARTERS)}
    results.save("regimes_and_timeframes", out, command=COMMAND, seed=args.seed,
                 seconds=old.get("seconds", 0.0) + time.perf_counter() - begin,
                 data=shas, device=training.describe())  # fmt: skip


if __name__ == "__main__":
    main()
