"""Five image encoders before the same small EfficientNet, on real Bybit bars, walked forward.

    SETRADE_DATA=<folder> make study STUDY=pictures_real

Hourly BTCUSDT perpetual bars. Three folds test 2022-01 to 2024-12; pictures of 64 bars at 64 x 64
pixels, every eighth training window (neighbours overlap by 63 bars). B0, B3 and B5 at 224 pixels
want a GPU; «micro» stands in for them, and its answers are not those of its larger
sisters. Nothing was tuned on these bars.
"""

from __future__ import annotations

import time
from dataclasses import asdict

import numpy as np

from setrade import evidence
from setrade.study import Data, grid, summary
from setrade.study.command import arguments, carry_out, finish, settled
from setrade.study.experiment import ENCODERS, Setting
from setrade.study.store import FUNDING, HOURS

# Small batches: the running statistics of batch norm want a few hundred steps.
SETTING = Setting(
    lookback=64, n_folds=3, stride=8, lr=2e-3, num_epochs=3, patience=2, batch_size=64
)


def main() -> None:
    """Run what is missing, then store the table, with candlesticks as the baseline."""
    args, start = arguments(__doc__, seeds=2), time.perf_counter()
    data, funding = Data.of(args.data / HOURS), Data.of(args.data / FUNDING)
    configs = grid(
        data=["1h"], view=ENCODERS, model=["micro"], seed=range(args.seeds),
        fold=range(SETTING.n_folds), fee_bps=[5.5],
    )  # fmt: skip
    store, report = carry_out("pictures_real", args, configs, data, SETTING, funding)
    if settled("pictures_real", report, store):
        return
    rows = store.of(configs)
    names, daily = summary.cube(rows, "view", "daily")
    _, majority = summary.cube(rows, "view", "majority")
    mean = daily.mean(axis=1)
    spa = evidence.superior_ability(np.zeros(mean.shape[1]), mean.T, seed=0)
    stored = {
        "models": names, "majority": float(majority[0].mean()),
        "table": summary.table(rows, "view", "candles"), "superior_ability": asdict(spa),
        "waterfall": summary.waterfall(rows, "view"), "learned": summary.learned(rows, "view"),
        "tries": summary.tries(store, "view"),
    }  # fmt: skip
    finish("pictures_real", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
