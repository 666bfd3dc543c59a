"""Would `se_real` have seen what the SE chapter claims, had it been there? Effects planted in bars.

    SETRADE_DATA=<folder> make study STUDY=se_seen

For each claimed number (Sharpe ratio, return, drawdown, win rate and profit factor, without SE and
with it) the hourly bars of `se_real` get an effect planted (`evidence.plant`): whether volume of
the last 16 bars lies above that of the last 48 foretells each next bar. Its size is such that
whoever always follows this signal earns just the claimed number over 2022 to 2024, after fees,
slippage and funding. Volatility, tails and volume stay those of the real bars. Then the very
pipeline of `se_real` trains on it, eight folds, two seeds each judged alone, as
`evidence.detectable` asks for a study of more than ten minutes. **Found** means that the interval
lies above what no skill gives (0; one half; 1); for the drawdown, which has no such number, that
it is better than the same net's on the real bars. A **gain** is found where SE, on its market,
beats the net without SE on its own: the two differ as the chapter says.
192 trainings, eleven minutes on two cores. Every run is a line of
``_build/studies/se_seen.jsonl``; a study that was cut short goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from setrade import backtest, evidence, files, metrics
from setrade.costs import Costs
from setrade.study import Data, Store, StudyError, grid, run, summary
from setrade.study.command import arguments, finish, settled
from setrade.study.experiment import Setting, run_config
from setrade.study.store import FUNDING, HOURS, Row, RunConfig

FEE, SEEDS, LARGEST = 5.5, 2, 0.5
# By figure: claimed without SE and with it, and what no skill gives (None: compare with real bars).
CLAIMED = {
    "annual_return": (0.312, 0.473, 0.0), "sharpe": (1.21, 1.84, 0.0),
    "max_drawdown": (-0.264, -0.187, None), "win_rate": (0.521, 0.582, 0.5),
    "profit_factor": (1.34, 1.67, 1.0),
}  # fmt: skip
NETS = ("none", "mean")
SHORT, LONG = 16, 48  # bars: the horizon of the labels, and the window that a net sees


def signal(bars: pd.DataFrame) -> np.ndarray:
    """Return +1 (n,) where late volume lies above its mean in the window, else -1; 0 at first."""
    volume = bars["volume"]
    gap = volume.rolling(SHORT).mean() - volume.rolling(LONG).mean()
    return np.where(gap.isna(), 0.0, np.where(gap > 0, 1.0, -1.0))


def follower(bars: pd.DataFrame, s: np.ndarray, funding: pd.Series) -> dict[str, float]:
    """Return the figures after all costs of whoever holds the signal throughout the tested span."""
    span = Setting().span
    inside = (bars.index >= span[0]) & (bars.index < span[1])
    tested, wanted = bars[inside], pd.Series(s[inside], bars.index[inside])
    done = backtest.run(tested, wanted, costs=Costs(fee_bps=FEE), funding=funding)
    pnl = done.trades["pnl"].to_numpy()
    daily = metrics.returns(np.concatenate([done.equity[:1], done.equity.resample("1D").last()]))
    return {
        "annual_return": float(metrics.annual_return(daily, summary.DAYS)),
        "sharpe": float(metrics.sharpe(daily, summary.DAYS)),
        "max_drawdown": float(metrics.max_drawdown(daily)),
        "win_rate": float((pnl > 0).mean()),
        "profit_factor": float(pnl[pnl > 0].sum() / -pnl[pnl < 0].sum()),
    }


def planted_size(bars: pd.DataFrame, funding: pd.Series, figure: str, claimed: float) -> float:
    """Return the size to plant for the follower of the signal to earn the claimed number.

    Raises:
        StudyError: the signal pays more than that before anything is planted, or never so much.
    """
    s = signal(bars)

    def short_of(size: float) -> float:
        return follower(evidence.plant(bars, size, signal=s), s, funding)[figure] - claimed

    least, most = short_of(0.0), short_of(LARGEST)
    if not least < 0 < most:
        raise StudyError(
            f"no size up to {LARGEST} plants a {figure} of {claimed}: "
            f"the follower earns {least + claimed:.3g} to {most + claimed:.3g}"
        )
    root: Any = brentq(short_of, 0.0, LARGEST, xtol=1e-4)
    return float(root)


def markets(
    bars: pd.DataFrame, funding: pd.Series, folder: Path, figures: Iterable[str] = tuple(CLAIMED)
) -> tuple[dict, dict[str, Data]]:
    """Write the planted bars, one file a claimed number, and return their sizes and files."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes, where = {}, {}
    for figure in figures:
        for net, claimed in zip(NETS, CLAIMED[figure][:2], strict=True):
            name, path = f"{figure}/{net}", folder / f"{figure}_{net}.parquet"
            sizes[name] = planted_size(bars, funding, figure, claimed)
            made = evidence.plant(bars, sizes[name], signal=signal(bars))
            planted = made.reset_index(names="ts").to_parquet()
            if not path.exists() or path.read_bytes() != planted:
                files.write_atomic(path, planted)
            where[name] = Data.of(path)
    return sizes, where


def everything() -> list[RunConfig]:
    """Return the runs: each net on the market of its claim, and on the real bars."""
    same = {"view": ["channels"], "seed": range(SEEDS), "fold": range(Setting().n_folds)}
    configs = grid(data=["real"], model=NETS, fee_bps=[FEE], **same)
    for figure in CLAIMED:
        for net in NETS:
            configs += grid(data=[f"{figure}/{net}"], model=[net], fee_bps=[FEE], **same)
    return configs


def pick(rows: list[Row], data: str, net: str, seed: int, name: str) -> list[Row]:
    """Return the runs of one net on one market with one seed, called ``name``."""
    mine = [
        r for r in rows
        if (r["config"]["data"], r["config"]["model"], r["config"]["seed"]) == (data, net, seed)
    ]  # fmt: skip
    return [row | {"config": row["config"] | {"model": name}} for row in mine]


def judged(rows: list[Row], figure: str, seed: int) -> dict[str, dict]:
    """Return what one seed found of a figure: of the net without SE, with SE, and of the gain."""
    together, pairs = [], []
    for net in NETS:
        together.append(pick(rows, f"{figure}/{net}", net, seed, "planted"))
        pairs.append(together[-1] + pick(rows, "real", net, seed, "real"))
    out = {}
    for net, pair in zip(NETS, pairs, strict=True):
        found = summary.table(pair, "model", "real")[figure]["planted"]
        nothing = CLAIMED[figure][2]
        low = found["difference"]["low"] if nothing is None else found["low"] - nothing
        out[net] = found | {"found": bool(low > 0)}
    both = pick(rows, f"{figure}/mean", "mean", seed, "mean") + pick(
        rows, f"{figure}/none", "none", seed, "none"
    )
    gap = summary.table(both, "model", "none")[figure]["mean"]["difference"]
    return out | {"gain": gap | {"found": bool(gap["low"] > 0)}}


def verdict(rows: list[Row]) -> dict[str, dict]:
    """Return, by figure and row, the size that both seeds found; null: the claimed one was not."""
    out: dict[str, dict] = {}
    for figure, (without, with_se, _) in CLAIMED.items():
        seeds = [judged(rows, figure, seed) for seed in range(SEEDS)]
        claims = {"none": without, "mean": with_se, "gain": with_se - without}
        for row, claimed in claims.items():
            answers = {(abs(claimed), k): one[row]["found"] for k, one in enumerate(seeds)}
            seen = evidence.detectable(
                lambda size, k, known=answers: known[size, k],
                [abs(claimed)], tries=SEEDS, needed=SEEDS,
            )  # fmt: skip
            out.setdefault(figure, {})[row] = {
                "size": seen.size, "tries": [one[row] for one in seeds], "claimed": claimed,
            }  # fmt: skip
    return out


def main() -> None:
    """Plant, run what is missing, then store what was found."""
    args, start, setting = arguments(__doc__, seeds=SEEDS), time.perf_counter(), Setting().here()
    data, funding = Data.of(args.data / HOURS), Data.of(args.data / FUNDING)
    sizes, planted = markets(data.read(), funding.rates(), args.store / "se_seen")
    hashes = {Path(file.path).name: file.sha256 for file in (data, funding)}
    store = Store(
        args.store / "se_seen.jsonl", "se_seen", hashes,
        setting=setting.header() | {"sizes": sizes}, repair=args.repair,
    )  # fmt: skip
    work = partial(run_config, data={"real": data, **planted}, setting=setting, funding=funding)
    configs = everything()
    report = run(work, configs, store, n_jobs=args.jobs, backend=args.backend)
    if settled("se_seen", report, store):
        return
    rows = store.of(configs)
    stored = {"sizes": sizes, "detectable": verdict(rows), "learned": {}}
    for net in NETS:
        mine = [r for r in rows if r["config"]["model"] == net and r["config"]["data"] != "real"]
        for name in dict.fromkeys(r["config"]["data"] for r in mine):
            some = [r for r in mine if r["config"]["data"] == name]
            stored["learned"][name] = summary.learned(some, "model")[net]["over_seeds"]
    finish("se_seen", stored, report, store, seeds=SEEDS, start=start)


if __name__ == "__main__":
    main()
