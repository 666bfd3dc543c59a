"""Fill what a study lacks: joblib underneath, on one machine or on a cluster, the same code.

Workers compute, this process alone writes: a run is stored as soon as it arrives. A run that
raises is stored as failed, with its traceback, and tried again by the next `run`. When a worker
process dies, loky's pool is rebuilt and Dask gives its runs to another worker.
"""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from setrade import results
from setrade.errors import choice, integer
from setrade.study.errors import StudyError
from setrade.study.grid import Cell, key
from setrade.study.store import Row, Store

BACKENDS = ("loky", "dask", "ray")
Work = Callable[[Cell], dict[str, Any]]  # cell -> measures that JSON can hold


@dataclass(frozen=True)
class Report:
    """What a call of `run` did; seconds of wall clock, and of work summed over workers."""

    ran: int
    failed: int
    skipped: int
    wall_seconds: float
    work_seconds: float


def run(
    work: Work,
    cells: list[Cell],
    store: Store,
    *,
    n_jobs: int = 1,
    backend: str = "loky",
    address: str | None = None,
    restarts: int = 3,
    say: Callable[[str], None] = tqdm.write,
) -> Report:
    """Run every cell that has no successful run yet, and store each as it ends.

    The first of them runs alone where nothing is known yet: its time gives the estimate that
    is printed before the others start.

    Args:
        work: takes a cell, returns its measures; a module-level function (or a ``partial``).
        cells: what there is to run, as `grid` gives it.
        store: where runs go.
        n_jobs: workers; on a cluster, runs under way at a time.
        backend: "loky" (processes of this machine), "dask" or "ray".
        address: of the cluster's scheduler, for "dask" and "ray".
        restarts: how often a pool that lost a worker is rebuilt.
        say: takes the estimate and the notes.

    Returns:
        A `Report`.

    Raises:
        StudyError: the cluster cannot be reached, workers keep dying, or the store fails.
    """
    choice("backend", backend, BACKENDS)
    n_jobs, restarts = integer("n_jobs", n_jobs, 1), integer("restarts", restarts, 0)
    start, before = time.perf_counter(), len(store.rows())
    with store.locked(), ExitStack() as stack:
        left = store.missing(cells)
        skipped = len(cells) - len(left)
        if left:
            stack.enter_context(cluster(backend, address))
        if left and not store.done():
            store.add(attempt(work, left[0], results.commit()))
            left = left[1:]
        if left:
            say(estimate(store, len(left), n_jobs))
        _fill(work, left, store, n_jobs, restarts, say)
    mine = store.rows()[before:]
    failed = sum(row["status"] != "ok" for row in mine)
    spent = sum(row["seconds"] for row in mine)
    return Report(len(mine), failed, skipped, time.perf_counter() - start, spent)


def _fill(
    work: Work, left: list[Cell], store: Store, n_jobs: int, restarts: int, say: Callable
) -> None:
    """Run ``left``, and again what a dead worker took with it."""
    commit, total = results.commit() if left else "", len(left)
    with tqdm(total=total, unit="run", disable=None if left else True) as bar:
        while left:
            stored = set()
            try:
                tasks = (delayed(attempt)(work, cell, commit) for cell in left)
                pool: Any = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
                for row in pool(tasks):
                    store.add(row)
                    stored.add(row["key"])
                    bar.update()
                return
            except TerminatedWorkerError as error:
                left = [cell for cell in left if key(cell) not in stored]
                if restarts == 0:
                    raise StudyError(f"workers keep dying, {len(left)} runs left") from error
                restarts -= 1
                say(f"a worker died; {len(left)} runs go to a new pool")


def attempt(work: Work, cell: Cell, commit: str) -> Row:
    """Return the row of one run, done or failed, with what is needed to repeat it."""
    row: Row = {"key": key(cell), "cell": cell, "commit": commit, **surroundings()}
    start = time.perf_counter()
    try:
        row |= {"status": "ok", "measures": storable(work(cell))}
    except Exception:  # recorded with its traceback: one bad run must not stop a thousand
        row |= {"status": "failed", "error": traceback.format_exc(limit=8)}
    return row | {"seconds": round(time.perf_counter() - start, 3)}


def storable(measures: dict[str, Any]) -> dict[str, Any]:
    """Return the measures of a run; raise `StudyError` for one that a line of JSON cannot hold."""
    for name, value in measures.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise StudyError(f"measure {name!r} cannot be stored: {error}") from error
    return measures


@cache
def surroundings() -> dict[str, Any]:
    """Return versions, machine and device of this process."""
    from setrade.training import device

    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in results.PACKAGES}
    return {"versions": versions, "machine": results.machine(), "device": str(device())}


def estimate(store: Store, left: int, n_jobs: int) -> str:
    """Return the sentence that says how long ``left`` runs will take, from the runs done."""
    seconds = sorted(row["seconds"] for row in store.done().values())
    if not seconds:
        return f"{left} runs left; the first one failed, so their time is not known"
    median = seconds[len(seconds) // 2]
    minutes = left * median / n_jobs / 60
    return (
        f"{left} runs left, about {minutes:.1f} minutes with {n_jobs} at a time "
        f"(median of {len(seconds)} done: {median:.1f} s)"
    )


@contextmanager
def cluster(backend: str, address: str | None, timeout: float = 10.0) -> Iterator[None]:
    """Point joblib at the backend while the block runs.

    Raises:
        StudyError: the scheduler at ``address`` does not answer, or the package is missing.
    """
    with ExitStack() as stack:
        try:
            if backend == "dask":
                from distributed import Client

                stack.enter_context(Client(address, timeout=timeout))
            elif backend == "ray":
                import ray  # pyright: ignore[reportMissingImports]
                from ray.util.joblib import (  # pyright: ignore[reportMissingImports]
                    register_ray,
                )

                ray.init(address=address)
                stack.callback(ray.shutdown)
                register_ray()
        except ImportError as error:
            raise StudyError(f"{backend} is not installed: pip install '.[cluster]'") from error
        except (OSError, TimeoutError, ConnectionError) as error:
            raise StudyError(f"no {backend} scheduler answers at {address}: {error}") from error
        stack.enter_context(parallel_config(backend))
        yield
