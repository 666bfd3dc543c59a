"""Accounts that agents size: many in one compiled loop, against Gymnasium's own loop over them."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import SyncVectorEnv

from setrade import candles, sizing

ACCOUNTS, STEPS = 1_024, 32


def test_many_accounts(race):
    """A thousand accounts with funding-free costs, each wish another; steps a second are asked."""
    bars = candles.synthetic(3_000, seed=0, interval="8h").candles
    wanted = np.random.default_rng(0).uniform(-1, 1, (STEPS, ACCOUNTS, 1)).astype(np.float32)
    many = sizing.SizingVectorEnv(ACCOUNTS, bars, length=256)
    peer = SyncVectorEnv([lambda: sizing.SizingEnv(bars, length=256)] * ACCOUNTS)
    starts = many.reset(seed=1)[1]["bar"]
    peer.reset(seed=1)

    def play(env) -> None:
        for row in wanted:
            env.step(row)

    medians = race(lambda: play(many), sync_vector_env=lambda: play(peer))
    one = sizing.SizingEnv(bars, length=256)
    one.reset(options={"start": int(starts[0])})
    fresh = sizing.SizingVectorEnv(ACCOUNTS, bars, length=256)
    fresh.reset(seed=1)
    for row in wanted:
        told, alone = fresh.step(row)[4], one.step(row[0])[4]
    assert told["equity"][0] == alone["equity"]
    race.bound("sync_vector_env", medians["sync_vector_env"] / medians["ours"], 10)
    race.bound("steps_a_second", ACCOUNTS * STEPS / medians["ours"], 500_000)
