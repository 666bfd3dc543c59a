"""Is a small reduction ratio better with ten channels? r = 2, 4 and 16 on real Bybit bars.

    SETRADE_DATA=<folder> make study STUDY=reductions_real

The folds, the net and the settings of ``se_real``, three seeds. With ten channels r = 16 leaves
a single hidden unit, the least there can be.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial

from setrade.study import Data, Store, grid, run, summary
from setrade.study.bars import HOURS
from setrade.study.command import arguments, finish, settled
from setrade.study.experiment import Setting, run_cell

MODELS = ("mean/16", "mean", "mean/2")


def main() -> None:
    """Run what is missing, then store the table, with r = 16 as the baseline."""
    args = arguments(__doc__, seeds=3)
    start, setting = time.perf_counter(), Setting()
    data = {"1h": Data.of(args.data / HOURS)}
    cells = grid(
        data=["1h"], view=["channels"], model=MODELS, seed=range(args.seeds),
        fold=range(setting.n_folds), fee_bps=[5.5],
    )  # fmt: skip
    shas = {HOURS: data["1h"].sha256}
    store = Store(
        args.store / "reductions_real.jsonl",
        "reductions_real",
        shas,
        setting=asdict(setting),
        repair=args.repair,
    )
    report = run(
        partial(run_cell, data=data, setting=setting), cells, store,
        n_jobs=args.jobs, backend=args.backend, address=args.address,
    )  # fmt: skip
    if settled("reductions_real", report, store):
        return
    rows = store.of(cells)
    stored = {
        "models": MODELS, "table": summary.table(rows, "model", MODELS[0]),
        "tries": summary.tries(store, "model"),
    }  # fmt: skip
    finish("reductions_real", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
