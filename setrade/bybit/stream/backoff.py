"""Waiting longer after each failure, with jitter, so that nothing hot-loops or herds."""

from __future__ import annotations

import numpy as np

from setrade.errors import number


class Backoff:
    """Waits that double up to a cap, each scattered over its upper half.

    Args:
        first: seconds before the first retry, above zero.
        cap: largest wait in seconds.
        healthy: a connection that lasted this many seconds starts the count anew.
        seed: of the scatter (a seed or a generator; None: from the system).
    """

    def __init__(
        self,
        first: float = 0.5,
        cap: float = 30.0,
        *,
        healthy: float = 60.0,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.first = number("first", first, 0.0, above=True)
        self.cap = number("cap", cap, self.first)
        self.healthy = number("healthy", healthy, 0.0)
        self.failures = 0
        self._draw = np.random.default_rng(seed)

    def wait(self, lasted: float = 0.0) -> float:
        """Return the seconds to wait after a connection that lasted ``lasted`` seconds."""
        if lasted >= self.healthy:
            self.failures = 0
        full = min(self.cap, self.first * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return full * float(self._draw.uniform(0.5, 1.0))

    def again(self, pause: float) -> float:
        """Return the seconds to wait before asking again, ``pause`` seconds after the last time.

        Zero when that was long enough ago; otherwise as `wait`.
        """
        if pause >= self.healthy:
            self.failures = 0
            return 0.0
        return self.wait()

    def fresh(self) -> Backoff:
        """Return a backoff of the same waits that has seen no failure."""
        return Backoff(self.first, self.cap, healthy=self.healthy, seed=self._draw.spawn(1)[0])
