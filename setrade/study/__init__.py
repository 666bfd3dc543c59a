"""Studies that scale out: a grid of runs as plain data, each run stored the moment it is done.

`grid` spells out the runs, `Store` keeps one line a run, `run` fills what is missing on one
machine (loky) or a cluster (Dask), and `experiment` is the run of chapters 19 and 23: train
on the past, test on what follows. Chapter 23 builds a small one by hand.
"""

from setrade.study.runner import BACKENDS, StudyReport, run
from setrade.study.store import Data, RunConfig, Store, StudyError, grid, key

__all__ = [
    "BACKENDS",
    "Data",
    "RunConfig",
    "Store",
    "StudyError",
    "StudyReport",
    "grid",
    "key",
    "run",
]
