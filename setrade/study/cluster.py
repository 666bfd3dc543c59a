"""Runs on a Dask cluster; imported when one is asked for, since the package is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any
from warnings import warn

import distributed

from setrade.study.grid import Cell
from setrade.study.pool import Pool, Task
from setrade.study.record import begin, died
from setrade.study.store import Row


class Client(distributed.Client):
    """A client that is closed when it cannot start.

    Else it is closed when its memory is freed. That may be while the next client starts, in the
    same thread, and both want one lock: the process hangs (distributed 2026.8).
    """

    def start(self, **kwargs: Any) -> None:
        """Start, or leave nothing behind."""
        try:
            super().start(**kwargs)
        except BaseException:
            self.close()
            raise


class DaskPool(Pool):
    """Workers of a Dask cluster; a dead worker's runs go to others, a few times.

    Not through joblib, whose Dask backend waits for ever when a run is given up (joblib 1.6).
    """

    deaths = (distributed.KilledWorker,)

    def __init__(self, n_jobs: int, client: Client) -> None:
        super().__init__(n_jobs)
        self.client = client
        known = client.scheduler_info()
        if not known["workers"]:
            where = known["address"]
            warn(f"the cluster at {where} has no worker: runs begin when one joins", stacklevel=2)

    def spread(self, task: Task, cells: list[Cell]) -> Iterator[Row]:
        """Yield ``task(cell)`` of every cell as it ends; one that kills its workers as failed."""
        begun, left = {}, iter(cells)

        def submit(cell: Cell) -> Any:
            future = self.client.submit(task, cell, pure=False)
            begun[future.key] = begin(cell, self.commit)
            return future

        running = distributed.as_completed([submit(cell) for cell in islice(left, self.n_jobs)])
        for future in running:
            start = begun.pop(future.key)
            try:
                row = future.result()
            except self.deaths as error:
                row = died(start, error)
            yield row
            running.update(map(submit, islice(left, 1)))

    def _alone(self, task: Task, cell: Cell) -> Row:
        return self.client.submit(task, cell, pure=False).result()
