"""`race`: time several callables in turns, in one process, and store the ratios."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from setrade import results

RACES: dict[str, dict[str, Any]] = {}


@pytest.fixture
def race(benchmark, request):
    """Return ``run(ours, **peers)``, which gives each one's median seconds.

    All contenders are called once to warm up, then in turns, so that a slow spell of the
    machine hits all alike. Each takes part for ``seconds`` at most, but three rounds at least.
    """

    def run(ours: Callable[[], Any], *, seconds: float = 3.0, **peers: Callable[[], Any]):
        contenders = {"ours": ours} | peers
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for call in contenders.values():
            call()
        rounds = 0
        while rounds < 3 or (sum(map(sum, times.values())) < seconds * len(times) and rounds < 50):
            for name, call in contenders.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
            rounds += 1
        medians = {name: median(t) for name, t in times.items()}
        ratios = {name: t / medians["ours"] for name, t in medians.items()}
        benchmark.extra_info.update(medians=medians, ratios=ratios)
        benchmark.pedantic(ours, rounds=3)
        RACES[request.node.name] = {
            "rounds": rounds,
            "median_ms": {name: float(f"{t * 1e3:.4g}") for name, t in medians.items()},
            "times_ours": {name: float(f"{r:.4g}") for name, r in ratios.items()},
        }
        return medians

    return run


def pytest_sessionfinish(session, exitstatus):
    """Merge this run's races into ``book/results/bench.json`` (only under ``make bench``)."""
    if not RACES or not session.config.getoption("--benchmark-json"):
        return
    path: Path = results.FOLDER / "bench.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else {}
    results.save("bench", kept | RACES, command="make bench", seed=0, seconds=0)
