"""Laws that many modules share, written once.

`assert_causal` is the truncation test: cut off or alter the future, and nothing at or
before t may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from setrade.errors import ArgumentError


def alter_future(candles: pd.DataFrame, last: int, seed: int = 0) -> pd.DataFrame:
    """Return a copy whose bars after row ``last`` are other, valid bars: a wild future."""
    rng = np.random.default_rng(seed)
    out = candles.copy()
    n = len(out) - last - 1
    factor = np.exp(rng.normal(0, 0.3, n)).cumprod() if n else np.ones(0)
    for name in ("open", "high", "low", "close"):
        out.iloc[last + 1 :, out.columns.get_loc(name)] *= factor
    out.iloc[last + 1 :, out.columns.get_loc("volume")] *= rng.uniform(0, 50, n)
    return out


def assert_causal(
    compute: Callable[[pd.DataFrame], Any],
    candles: pd.DataFrame,
    *,
    cuts: Iterable[int] | None = None,
    offset: int = 0,
    rtol: float = 0.0,
    atol: float = 0.0,
) -> None:
    """Assert that ``compute`` never looks ahead.

    Row i of what ``compute(candles)`` returns (array, Series or DataFrame) belongs to bar
    ``i + offset``; it may depend on bars up to and including that one only. The result on
    candles cut after t, and on candles whose future is altered, must equal the full result
    at every row that belongs to a bar <= t. Exact by default, NaN equal to NaN.
    """
    full = np.asarray(compute(candles))
    n = len(candles)
    for last in cuts if cuts is not None else (n // 2, (3 * n) // 4, n - 2):
        rows = last + 1 - offset
        assert 0 < rows < len(full), f"cut {last} leaves nothing to compare"
        for how, frame in (
            ("cut off", candles.iloc[: last + 1]),
            ("altered", alter_future(candles, last)),
        ):
            part = np.asarray(compute(frame))
            assert len(part) >= rows, f"future {how} after bar {last}: {len(part)} rows < {rows}"
            np.testing.assert_allclose(
                part[:rows], full[:rows], rtol=rtol, atol=atol, equal_nan=True,
                err_msg=f"future {how} after bar {last}: the past changed",
            )  # fmt: skip


def assert_drawn_in_order(draw: Callable[[Any], Any]) -> None:
    """Assert that a picture of a series follows its stamps: none turned, repeated or a frame."""
    stamps = pd.date_range("2024-01-01", periods=12, freq="1h", tz="UTC")
    x = pd.Series(np.sin(np.arange(12)), stamps)
    np.testing.assert_array_equal(draw(x), draw(x.to_numpy()))
    for bad in (x[::-1], pd.concat([x, x]), pd.DataFrame({"a": x, "b": x})):
        with pytest.raises(ArgumentError, match="^x: "):
            draw(bad)
