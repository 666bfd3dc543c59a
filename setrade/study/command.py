"""What every study's command line shares: workers, backend, the folder of candles, the store."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from setrade import results, training
from setrade.study.experiment import Setting, run_config
from setrade.study.runner import BACKENDS, StudyReport, run
from setrade.study.store import REQUESTS, Data, Row, RunConfig, Store, StudyError

# What makes a table of runs that are stored; each run names the commit it was made at.
CODE = ("setrade/study", "setrade/evidence", "setrade/candles", "setrade/metrics.py")

ON_A_GPU = 4  # each run keeps a context of its own there; more only wait for each other


def parser(about: str | None, store: str = "_build/studies", counts: Any = ()) -> ArgumentParser:
    """Return a command line: workers, candles, folder of runs, and (name, default) counts."""
    made = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--jobs", type=int, default=at_a_time(), help="runs at a time (%(default)s)")
    add("--data", type=Path, default=os.environ.get("SETRADE_DATA"), help="folder of candles")
    add("--store", type=Path, default=Path(store), help="folder of runs (%(default)s)")
    for name, value in counts:
        add(f"--{name.replace('_', '-')}", type=int, default=value, help="(%(default)s)")
    return made


def parsed(made: ArgumentParser, argv: Any = None, needs: str = "parquet files") -> Any:
    """Return the parsed options; ``needs`` says which files the folder of candles must hold.

    Raises:
        StudyError: neither ``--data`` nor SETRADE_DATA names it.
    """
    args = made.parse_args(argv)
    if args.data is None:
        raise StudyError(f"no candles: set SETRADE_DATA to a folder with {needs}, or use --data")
    return args


def arguments(about: str | None, *, seeds: int, argv: Any = None) -> Namespace:
    """Return the parsed options of a study in a `Store`; ``seeds`` is the default number of them.

    Raises:
        StudyError: neither ``--data`` nor SETRADE_DATA names a folder of candles.
    """
    made = parser(about)
    add = made.add_argument
    add("--seeds", type=int, default=seeds, help="random seeds of each model (%(default)s)")
    add("--backend", choices=BACKENDS, default="loky", help="where runs go (%(default)s)")
    add("--address", help="scheduler of a Dask cluster, such as tcp://host:8786")
    add("--repair", action="store_true", help="move a line that was cut short aside")
    return parsed(made, argv)


def at_a_time() -> int:
    """Return how many runs go on at once: one a core, but on one GPU few."""
    cores = os.cpu_count() or 1
    return cores if training.device().type == "cpu" else min(cores, ON_A_GPU)


def carry_out(
    name: str,
    args: Namespace,
    configs: list[RunConfig],
    data: Data,
    setting: Setting,
    funding: Data | None = None,
) -> tuple[Store, StudyReport]:
    """Run what a study of one file of hourly bars lacks; its configurations call them ``"1h"``.

    ``funding`` is the file of rates that positions pay; None: none are charged.

    All runs are on one kind of device, which the header names: a table does not mix them.
    """
    setting = setting.here()
    store = Store(
        args.store / f"{name}.jsonl", name,
        {Path(file.path).name: file.sha256 for file in (data, funding) if file},
        setting=setting.header(), repair=args.repair,
    )  # fmt: skip
    work = partial(run_config, data={"1h": data}, setting=setting, funding=funding)
    where = {"n_jobs": args.jobs, "backend": args.backend, "address": args.address}
    return store, run(work, configs, store, **where)


def settled(name: str, report: StudyReport, store: Store) -> bool:
    """Return whether the stored result is of these runs, and its table of today's code."""
    if report.ran or not (results.FOLDER / f"{name}.json").exists():
        return False
    record = results.load(name)
    if record["results"]["machinery"].get("runs_sha256") != results.sha256(store.path):
        return False
    if same := results.same_code(record, *CODE, f"studies/{name}.py"):
        print(f"{name}: nothing new, book/results/{name}.json is of these {report.skipped} runs")
    return same


def busy_seconds(rows: list[Row]) -> float:
    """Return how long at least one run was under way; pauses between calls do not count."""
    busy, until = 0.0, 0.0
    for start, stop in sorted((row["started"], row["started"] + row["seconds"]) for row in rows):
        busy += max(0.0, stop - max(start, until))
        until = max(until, stop)
    return busy


def finish(
    name: str,
    stored: dict[str, Any],
    report: StudyReport,
    store: Store,
    *,
    seeds: int,
    start: float,
) -> None:
    """Store a study's results with its provenance, and what the machinery itself cost."""
    rows = store.rows()
    stored["setting"] = store.header["setting"]
    stored["machinery"] = {
        "runs": len(rows),
        "runs_sha256": results.sha256(store.path),
        "failed": sum(row["status"] != "ok" for row in rows),
        "commits": dict(Counter(row["commit"] for row in rows)),  # that the runs were made at
        "work_seconds": round(sum(row["seconds"] for row in rows), 1),
        "busy_seconds": round(busy_seconds(rows), 1),
        "last_call": vars(report),
    }
    names = list(store.header["data_sha256"])
    stored["requests"] = {name: REQUESTS[name] for name in names if name in REQUESTS}
    print(f"{name}: {report.ran} runs, {report.failed} failed, {report.skipped} already there")
    command = f"SETRADE_DATA=<folder with {', '.join(names)}> make study STUDY={name}"
    results.save(
        name, stored, command=command, seed=list(range(seeds)),
        seconds=time.perf_counter() - start, data=store.header["data_sha256"],
        device=rows[-1]["device"],
    )  # fmt: skip
