"""Would a gate report show a channel that decides, had there been one? Planted in real bars.

    SETRADE_DATA=<folder> make study STUDY=gates_seen

`gates_real` reads which gates are large, and the ledger holds that against what the SE chapter
prints: one channel on rank 1, three channels on top, gates of 0.68 to 0.94. Here the same hourly
bars get an effect planted (`evidence.plant`): whether volume of the last 16 bars lies above that
of the last 48 foretells each next bar (`se_seen.signal`). So one channel of the fourteen, volume,
decides, and all else stays that of the real bars. The **claimed** size is the one that earns the
Sharpe ratio which the chapter claims of SE (`se_seen`); about three times that, a **strong** one,
is planted once, as a control that there is something which nets and gates can find. Then the very
pipeline of ``gates_real`` runs, ten nets at the rate that it chose, and its report is read over
2024. **rank**: found where the interval of volume's mean rank lies above chance, better than 7.5
of 14. **top3**: where volume is among the three largest gates more often than 3 in 14. **gate**:
where the interval of volume's mean gate reaches 0.68, the least that the chapter prints. Beside
them **permutation**, the rank when the net's output is asked instead.
Found in 16 of 20 tries of ten nets counts as seen, and the tries end as soon as it is decided.
``--seeds 20`` are two tries, and both have to find it: three minutes on two idle cores. Every run
is a line of ``_build/studies/gates_seen.jsonl``; a study that was cut short goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gates_real
import numpy as np
import torch
from se_seen import signal

from setrade import attention, channels, evidence, results, training
from setrade.models import SETrader
from setrade.study import Data, Store, grid, run
from setrade.study.command import arguments, finish
from setrade.study.store import HOURS, Row, RunConfig
from setrade.study.summary import t_interval

CHANNEL = gates_real.CHANNELS.index("volume")
N = len(gates_real.CHANNELS)
SMALLEST = min(min(row.values()) for row in gates_real.CLAIMED.values())
TRIES, NETS, SHARE, STRONG = 20, 10, 0.8, 0.1
FIGURES = ("rank", "top3", "gate", "permutation")
SECONDS = 9.0  # a net on one idle core, on average
ASKED = 2_000  # windows of the test


def work(config: RunConfig, data: Data) -> dict[str, Any]:
    """Plant, train one net as `gates_real` does; return what gates and output say."""
    torch.set_num_threads(1)
    bars, seed = data.read(), config["seed"]
    bars = evidence.plant(bars, config["size"], signal=signal(bars))
    x, _, truth, split = gates_real.prepare(bars)
    x = channels.Standardizer().fit(x.iloc[split.train[0] : split.train[-1] + 1]).transform(x)
    train, validation, test = (
        training.WindowSet(x, truth, ends, gates_real.LOOKBACK)
        for ends in (split.train, split.validation, split.test)
    )
    training.seed_everything(seed)
    net = SETrader(N, squeeze="mean", gate="input", hidden=16)
    plan = training.Plan(
        num_epochs=12, lr=config["lr"], patience=4, batch_size=512, seed=seed
    )  # fmt: skip
    X, y = test.all()
    start = mean_gates(net, X)
    history = training.fit(net, train, validation, plan=plan, device="cpu", progress=False)
    some = np.linspace(0, len(X) - 1, ASKED).astype(int)
    asked = attention.permutation_importance(net, X[some], y[some], seed=0)
    return {
        "start": start, "gates": mean_gates(net, X), "permutation": asked.tolist(),
        "val_loss": min(history.val_loss),
        "constant": evidence.constant_loss(train.y, validation.y),
    }  # fmt: skip


@torch.no_grad()
def mean_gates(net: SETrader, x: torch.Tensor) -> list[float]:
    """Return the mean gate of each channel."""
    return net.gates(x).mean(dim=0).tolist()


def report(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Return what ten nets say of the planted channel, and whether that finds it."""

    def places(measure: str) -> np.ndarray:
        table = np.array([row["measures"][measure] for row in rows])
        return (table > table[:, [CHANNEL]]).sum(axis=1) + 1.0

    gate = np.array([row["measures"]["gates"][CHANNEL] for row in rows])
    better: Callable[[float, float], bool] = lambda low, high: high < (N + 1) / 2  # noqa: E731
    return {
        "rank": spread(places("gates"), better),
        "top3": spread(places("gates") <= 3, lambda low, high: low > 3 / N),
        "gate": spread(gate, lambda low, high: high >= SMALLEST),
        "permutation": spread(places("permutation"), better),
    }


def spread(values: np.ndarray, finds: Callable[[float, float], bool]) -> dict[str, Any]:
    """Return mean and interval over nets, and whether these say that the channel is found."""
    value, low, high = t_interval(values.astype(float).tolist())
    return {"value": value, "low": low, "high": high, "found": bool(finds(low, high))}


def learned(rows: list[Row]) -> dict[str, Any]:
    """Return `evidence.learned` of some nets, gates included."""
    each = [row["measures"] for row in rows]
    losses, constant = [m["val_loss"] for m in each], float(np.mean([m["constant"] for m in each]))
    gates = np.array([m["start"] for m in each]), np.array([m["gates"] for m in each])
    return vars(evidence.learned(losses, constant, gates=gates))


def seen(ask: Callable[[float, int], dict], size: float, tries: int) -> dict[str, dict[str, Any]]:
    """Return, by figure of the report, whether it finds a channel planted with this size."""
    needed, out = int(np.ceil(SHARE * tries)), {}
    for name in FIGURES:
        found = evidence.detectable(
            lambda s, k, n=name: ask(s, k)[n]["found"], [size], tries=tries, needed=needed
        )
        out[name] = {"found": bool(np.isfinite(found.size)), "hits": found.hits[size],
                     "runs": found.runs[size]}  # fmt: skip
    return out


def main() -> None:
    """Say the cost, ask size after size, store."""
    args, start = arguments(__doc__, seeds=TRIES * NETS), time.perf_counter()
    data, lr = Data.of(args.data / HOURS), results.load("gates_real")["results"]["rate"]
    claimed = results.load("se_seen")["results"]["sizes"]["sharpe/mean"]
    tries = args.seeds // NETS
    store = Store(
        args.store / "gates_seen.jsonl", "gates_seen", {HOURS: data.sha256},
        setting={"lr": lr, "nets": NETS, "claimed": claimed, "strong": STRONG}, repair=args.repair,
    )  # fmt: skip
    each = NETS * SECONDS / 60 / args.jobs
    print(f"gates_seen: {each:.1f} minutes a try of {NETS} nets, at most {tries + 1} tries, "
          f"so {(tries + 1) * each:.0f} minutes or less on {args.jobs} idle cores")  # fmt: skip
    asked: dict[tuple[float, int], dict] = {}
    reports = []

    def nets(size: float, k: int) -> list[RunConfig]:
        return grid(size=[size], lr=[lr], seed=range(k * NETS, (k + 1) * NETS))

    def ask(size: float, k: int) -> dict[str, dict[str, Any]]:
        if (size, k) not in asked:
            todo = nets(size, k)
            reports.append(run(partial(work, data=data), todo, store, n_jobs=args.jobs))
            asked[size, k] = report(store.of(todo))
        return asked[size, k]

    stored: dict[str, Any] = {"tries": tries, "smallest_gate_claimed": SMALLEST}
    found = seen(ask, claimed, tries)
    ask(STRONG, 0)
    for name, size in (("claimed", claimed), ("strong", STRONG)):
        rows = store.of([c for s, k in sorted(asked) if s == size for c in nets(s, k)])
        stored[name] = {"size": size, "learned": learned(rows), "report": report(rows)}
    stored["claimed"]["seen"] = found
    # In the units of the ledger's rows: what is claimed there, or nothing that could be seen.
    stored["detectable"] = {
        name: {"size": size if found[name]["found"] else None}
        for name, size in (("rank", 1.0), ("top3", 1.0), ("gate", SMALLEST))
    }
    finish("gates_seen", stored, reports[-1], store, seeds=NETS * tries, start=start)


if __name__ == "__main__":
    main()
