"""Is a small reduction ratio better with ten channels? r = 2, 4 and 16 on real Bybit bars.

    SETRADE_DATA=<folder> make study STUDY=reductions_real

The folds, the net and the settings of ``se_real``, three seeds. With ten channels r = 16 leaves
a single hidden unit, the least there can be.
"""

from __future__ import annotations

import time

from setrade.study import Data, grid, summary
from setrade.study.command import arguments, carry_out, finish, settled
from setrade.study.experiment import Setting
from setrade.study.store import FUNDING, HOURS

MODELS = ("mean/16", "mean", "mean/2")


def main() -> None:
    """Run what is missing, then store the table, with r = 16 as the baseline."""
    args, start, setting = arguments(__doc__, seeds=3), time.perf_counter(), Setting()
    data, funding = Data.of(args.data / HOURS), Data.of(args.data / FUNDING)
    configs = grid(
        data=["1h"], view=["channels"], model=MODELS, seed=range(args.seeds),
        fold=range(setting.n_folds), fee_bps=[5.5],
    )  # fmt: skip
    store, report = carry_out("reductions_real", args, configs, data, setting, funding)
    if settled("reductions_real", report, store):
        return
    rows = store.of(configs)
    stored = {
        "models": MODELS, "table": summary.table(rows, "model", MODELS[0]),
        "waterfall": summary.waterfall(rows, "model"), "learned": summary.learned(rows, "model"),
        "tries": summary.tries(store, "model"),
    }  # fmt: skip
    finish("reductions_real", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
