"""One study on one worker, on two, and on a Dask cluster: the same table, and what it cost.

    make study STUDY=scaling

The study trains SE traders on the embedded sample (2 models x 32 seeds x 2 folds). It runs on one
and on two loky workers and on a Dask cluster whose scheduler and two workers are processes of
their own; one of these is killed half-way. The serial part is timed with runs that do nothing.
Wants an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from setrade import candles, results
from setrade.study import Data, Store, grid, run
from setrade.study.command import busy_seconds
from setrade.study.experiment import Setting, run_config

SETTING = Setting(
    lookback=32, horizon=8, n_folds=2, validation=480, embargo=8, num_epochs=12, batch_size=128,
    span=("2021-11-10", "2021-11-23"), device="cpu",  # what is measured here are its cores
)  # fmt: skip
CONFIGS = grid(
    data=["sample"], view=["channels"], model=["none", "mean"], seed=range(32), fold=range(2),
    fee_bps=[5.5],
)  # fmt: skip
NOTHING = 1_000  # runs that do nothing


def nothing(config: dict) -> dict:
    """Return at once."""
    return {"x": config["x"]}


@contextmanager
def dask_cluster(n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Start a scheduler and workers as processes; yield the address and the workers."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    address, dask = f"tcp://127.0.0.1:{port}", [sys.executable, "-m", "dask"]
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}

    def start(*arguments: str) -> subprocess.Popen:
        silent = subprocess.DEVNULL
        command = [*dask, *arguments]
        return subprocess.Popen(command, env=surroundings, stdout=silent, stderr=silent)

    local = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", ":0")
    scheduler = start("scheduler", "--port", str(port), *local)
    options = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--no-dashboard")
    workers = [start("worker", address, *options) for _ in range(n_workers)]
    try:
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def measure(name: str, folder: Path, data: Data, **options) -> tuple[dict, list]:
    """Run the study into a fresh store; return its times and the table in the order of configs."""
    store = Store(folder / f"{name}.jsonl", "scaling", {"sample": data.sha256})
    work = partial(run_config, data={"sample": data}, setting=SETTING)
    report = run(work, CONFIGS, store, say=lambda text: None, **options)
    rows = store.rows()
    assert len(rows) == len(CONFIGS), f"{name}: {len(rows)} rows for {len(CONFIGS)} configs"
    times = vars(report) | {"busy_seconds": busy_seconds(rows)}  # the rest: workers start and stop
    return times, [row["measures"] for row in store.of(CONFIGS)]


def serial_milliseconds(folder: Path) -> float:
    """Return what a run that does nothing takes: hand it to a worker, store its row, flush."""
    seconds = 0.0
    for name in ("warm", "nothing"):  # the first one starts the workers
        store = Store(folder / f"{name}_up.jsonl", "nothing", {})
        configs = grid(x=range(NOTHING))
        seconds = run(nothing, configs, store, n_jobs=2, say=lambda text: None).wall_seconds
    return 1e3 * seconds / NOTHING


def main() -> None:
    """Run every way, compare the tables, store the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "sample.parquet"
        candles.sample().to_parquet(path)
        data = Data.of(path)
        measure("warm", folder, data)  # caches of compiled kernels
        reports, tables = {}, {}
        for workers in (1, 2):
            key = f"loky_{workers}"
            reports[key], tables[key] = measure(key, folder, data, n_jobs=workers)
        with dask_cluster(2) as (address, _):
            options = {"backend": "dask", "address": address, "n_jobs": 2}
            reports["dask_2"], tables["dask_2"] = measure("dask_2", folder, data, **options)
        with dask_cluster(2) as (address, processes):
            options["address"] = address
            half = reports["dask_2"]["wall_seconds"] / 2
            threading.Timer(half, processes[0].kill).start()
            reports["killed"], tables["killed"] = measure("killed", folder, data, **options)
            killed = processes[0].poll() in (-9, 1)  # 1: on Windows
        serial = serial_milliseconds(folder)
    stored = {
        "runs": len(CONFIGS),
        "reports": reports,
        "same_table": {key: table == tables["loky_1"] for key, table in tables.items()},
        "worker_was_killed": killed,
        "serial_milliseconds": serial,
    }
    results.save(
        "scaling", stored, command="make study STUDY=scaling", seed=list(range(32)),
        seconds=time.perf_counter() - start,
    )  # fmt: skip


if __name__ == "__main__":
    main()
