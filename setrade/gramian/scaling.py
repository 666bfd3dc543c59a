"""From a series to the cosine and sine of its angles: aggregate, rescale, take the angle."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from setrade.buffers import is_tensor, wide
from setrade.compiled import kernel
from setrade.errors import ArgumentError, choice, integer, number

RANGES = {"signed": -1.0, "unit": 0.0}  # the lower end of x~; the upper end is 1
EPS = 16 * float(np.finfo(np.float64).eps)  # a range below this share of the values is none


def segments(n: int, size: int | None) -> np.ndarray:
    """Return the ``size + 1`` edges of the segments that aggregation averages over.

    Where ``size`` does not divide ``n`` the lengths differ by one (as in pyts without
    overlap); every value belongs to exactly one segment.

    Raises:
        ArgumentError: ``size`` is not an integer within [2, n].
    """
    size = n if size is None else integer("size", size, 2, n)
    return np.linspace(0, n, size + 1).astype(np.int64)


def check_scale(x: Any, bounds: Any, rescale: str) -> tuple[float, float, float]:
    """Return (low, high, lowest x~); low and high are NaN when each window has its own.

    Raises:
        ArgumentError: Bounds that are no increasing pair, a value of ``x`` outside them,
            values too large to subtract, an unknown ``rescale``.
    """
    start = RANGES[choice("rescale", rescale, RANGES)]
    values = x.detach() if is_tensor(x) else x
    smallest, largest = float(values.min()), float(values.max())
    if bounds is None:
        if not np.isfinite(largest - smallest):
            raise ArgumentError("x", largest, "numbers whose range is finite")
        return np.nan, np.nan, start
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ArgumentError("bounds", bounds, "None or a pair (low, high)")
    low, high = number("bounds[0]", bounds[0]), number("bounds[1]", bounds[1])
    if not (low < high and np.isfinite(high - low)):
        raise ArgumentError("bounds", bounds, "low < high")
    for value in (smallest, largest):
        if not low <= value <= high:
            raise ArgumentError("x", value, f"within bounds = ({low:g}, {high:g})")
    return low, high, start


@kernel
def angles(x, edges, low, high, start, means, cosine, sine):
    """Fill (size,) float32 cosines x~ and sines of one series ``x`` (n,); ``means`` is scratch."""
    for k in range(means.size):
        total = 0.0
        for t in range(edges[k], edges[k + 1]):
            total += x[t]
        means[k] = total / (edges[k + 1] - edges[k])
    lo, hi = (means.min(), means.max()) if np.isnan(low) else (low, high)
    flat = hi - lo <= EPS * max(abs(lo), abs(hi))
    for k in range(means.size):
        # Antisymmetric in x, exact at both ends: no clamp, and -x mirrors bit by bit.
        # A mean may round past given bounds by one bit, hence min and max.
        signed = -1.0 if flat else ((means[k] - lo) - (hi - means[k])) / (hi - lo)
        signed = min(max(signed, -1.0), 1.0)
        value = signed if start < 0 else 0.5 * (signed + 1.0)
        cosine[k] = value
        sine[k] = np.sqrt((1.0 - value) * (1.0 + value))


def angles_tensor(x: Any, edges: np.ndarray, low: float, high: float, start: float) -> Any:
    """Do what `angles` does to a tensor (..., n) on its device, with gradients."""
    torch = sys.modules["torch"]
    x = wide(x)
    if len(edges) - 1 < x.shape[-1]:
        x = x @ _averaging(edges).to(x)  # (..., n) @ (n, size)
    lo = x.amin(-1, keepdim=True) if np.isnan(low) else torch.full_like(x[..., :1], low)
    hi = x.amax(-1, keepdim=True) if np.isnan(low) else torch.full_like(x[..., :1], high)
    tiny = 16 * torch.finfo(x.dtype).eps * torch.maximum(lo.abs(), hi.abs())
    flat = hi - lo <= tiny
    signed = ((x - lo) - (hi - x)) / torch.where(flat, torch.ones_like(lo), hi - lo)
    signed = torch.where(flat, torch.full_like(x, -1.0), signed.clamp(-1, 1))
    cosine = signed if start < 0 else 0.5 * (signed + 1)
    squared = (1 - cosine) * (1 + cosine)
    # The slope of the root at 0 is infinite; at both ends of the range it counts as 0.
    inside = squared > 0
    root = torch.sqrt(torch.where(inside, squared, torch.ones_like(squared)))
    sine = torch.where(inside, root, torch.zeros_like(root))
    return cosine.float(), sine.float()


def _averaging(edges: np.ndarray) -> Any:
    """Return the (n, size) matrix that averages over the segments."""
    lengths = np.diff(edges)
    member = np.repeat(np.arange(len(lengths)), lengths)[:, None] == np.arange(len(lengths))
    return sys.modules["torch"].from_numpy(member / lengths)
