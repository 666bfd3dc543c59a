"""The SE chapter's own protocol on real Bybit bars: 70/15/15, a neutral zone, sizing by confidence.

    SETRADE_DATA=<folder> make study STUDY=se_protocol

Hourly BTCUSDT perpetual bars of 2022 to 2024, the years that are claimed, split 70/15/15 in the
order of time: the test is the second half of 2024. Three families of nets: convolutions, an LSTM
encoder, and a tanh head that is trained on profit after costs; each without SE, with it, and the
first two with multi-scale SE (5, 15 and 60 bars). Each score becomes positions in three ways:
kept until the next strong score; flat wherever it is weak (the neutral zone); and sized by its
confidence. Fees, slippage and real funding are charged. One test span and five seeds: an interval
here holds the luck of days and of seeds, and knows one half-year only.
40 trainings, 4 minutes on two cores. Every run is a line of ``_build/studies/se_protocol.jsonl``;
a study that was cut short goes on. Settings as in ``se_real``; windows of 64 bars, for 60 to fit.
"""

from __future__ import annotations

import time

from setrade.study import Data, grid, summary
from setrade.study.command import arguments, carry_out, finish, settled
from setrade.study.experiment import RULES, Setting
from setrade.study.store import FUNDING, HOURS, Row

FAMILIES = {
    "convolution": ("none", "mean", "multi-scale"),
    "lstm": ("lstm", "lstm mean", "lstm multi-scale"),
    "tanh": ("tanh", "tanh mean"),
}
SETTING = Setting(split="70/15/15", n_folds=1, lookback=64, rules=RULES)


def by_rule(rows: list[Row], rule: str) -> list[Row]:
    """Return the rows as if ``rule`` were the only way from scores to positions."""
    return [row | {"measures": row["measures"] | row["measures"]["rules"][rule]} for row in rows]


def tables(rows: list[Row]) -> dict[str, dict]:
    """Return, by family and rule, the table against no SE and what each cost took."""
    out: dict[str, dict] = {}
    for family, models in FAMILIES.items():
        mine = [row for row in rows if row["config"]["model"] in models]
        for rule in RULES:
            ruled = by_rule(mine, rule)
            out.setdefault(family, {})[rule] = {
                "table": summary.table(ruled, "model", models[0]),
                "waterfall": summary.waterfall(ruled, "model"),
            }
    return out


def main() -> None:
    """Run what is missing, then store the tables."""
    args, start = arguments(__doc__, seeds=5), time.perf_counter()
    data, funding = Data.of(args.data / HOURS), Data.of(args.data / FUNDING)
    models = [name for family in FAMILIES.values() for name in family]
    configs = grid(
        data=["1h"], view=["channels"], model=models, seed=range(args.seeds), fold=[0],
        fee_bps=[5.5],
    )  # fmt: skip
    store, report = carry_out("se_protocol", args, configs, data, SETTING, funding)
    if settled("se_protocol", report, store):
        return
    rows = store.of(configs)
    stored = {
        "families": FAMILIES, "rules": RULES, **tables(rows),
        "learned": summary.learned(rows, "model"), "tries": summary.tries(store, "model"),
        "majority": rows[0]["measures"]["majority"],
    }  # fmt: skip
    finish("se_protocol", stored, report, store, seeds=args.seeds, start=start)


if __name__ == "__main__":
    main()
