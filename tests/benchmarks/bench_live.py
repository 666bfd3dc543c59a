"""Speed of the live pipeline: replay against real time, and a bar's way to its order."""

from __future__ import annotations

import pytest
import torch

from studies.live_speed import latency, replay


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("rules", 1_000), ("SETrader in batches", 1_000), ("EfficientNet each minute", 200)],
)
def test_replay_against_real_time(race, name, wanted):
    """Issue: 1,000 times real time with rules or SETrader, 200 with an EfficientNet at 64 px."""
    torch.set_num_threads(1)
    race.bound("times_real_time", replay(name, 2_000)["times_real_time"], wanted)


def test_from_bar_to_order(race):
    """Issue: p99 within 1.3 times, or 10 ms, of the p99 of the bare calls of the net."""
    torch.set_num_threads(1)
    found = latency(300)
    race.bound("within_the_limit", found["limit_ms"] / found["bar_to_order_ms"]["p99"], 1)
