"""Gramian angular fields and Markov transition fields: series as square pictures."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
import shutil
import sys
import warnings
from typing import Any

import numpy as np
from numba import prange

from setrade.buffers import is_tensor, output, series, wide
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, choice, integer, number

__all__ = ["gadf", "gasf", "gasf_inverse", "transition_field"]


# ---- From a series to the cosine and sine of its angles.


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


# ---- Gramian angular fields.
#
# With x~ the rescaled series and phi = arccos(x~), GASF_ij = cos(phi_i + phi_j) and
# GADF_ij = sin(phi_i - phi_j). Both are of rank two, so that no arccos and no cosine is
# needed: GASF = x~ x~' - s s' and GADF = s x~' - x~ s' with s = sqrt(1 - x~^2). The cosine of
# each pair of angles takes 40 times as long (measured, n = 250).
# Source: Wang and Oates, Imaging Time-Series to Improve Classification and Imputation
# (IJCAI 2015), equations 1 to 5.


BLOCK = 8  # pictures that a core takes at a time


@kernel
def _outer(a, b, cosine, sine, out):
    """Fill out[i, j] = a[i] cosine[j] - b[i] sine[j] of one picture, within [-1, 1]."""
    for i in range(cosine.size):
        for j in range(cosine.size):
            value = a[i] * cosine[j] - b[i] * sine[j]
            # Rounding may leave [-1, 1] by one bit of float32.
            value = value if value < np.float32(1) else np.float32(1)
            out[i, j] = value if value > np.float32(-1) else np.float32(-1)


@kernel(parallel=True)
def _fill_gramian(x, edges, low, high, start, difference, out):
    """Fill pictures (N, size, size) of series (N, n), some pictures at a time a core."""
    size = edges.size - 1
    for block in prange((len(x) + BLOCK - 1) // BLOCK):
        means, both = np.empty(size), np.empty((2, size), np.float32)
        cosine, sine = both[0], both[1]
        for w in range(block * BLOCK, min((block + 1) * BLOCK, len(x))):
            angles(x[w], edges, low, high, start, means, cosine, sine)
            if difference:
                _outer(sine, cosine, cosine, sine, out[w])
            else:
                _outer(cosine, sine, cosine, sine, out[w])


def _pixels(a: Any, b: Any, cosine: Any, sine: Any) -> Any:
    """Return the pixels a_i cosine_j - b_i sine_j of tensors (..., size)."""
    a, b, cosine, sine = a[..., :, None], b[..., :, None], cosine[..., None, :], sine[..., None, :]
    return (a * cosine - b * sine).clamp(-1, 1)


@functools.cache
def _can_fuse(device: Any) -> bool:
    """Return whether torch can compile for this GPU: it needs triton and a C compiler.

    Triton takes what ``CC`` names, or gcc, clang or cc, and cards from Volta (7.0) on.
    """
    compilers = (os.environ.get("CC", ""), "gcc", "clang", "cc")
    found = importlib.util.find_spec("triton") is not None and any(map(shutil.which, compilers))
    return found and sys.modules["torch"].cuda.get_device_capability(device) >= (7, 0)


@functools.cache
def _fused() -> Any:
    """Return `_pixels` into a buffer as one compiled kernel: it writes each pixel once."""

    def fill(out: Any, *parts: Any) -> None:
        out.copy_(_pixels(*parts))

    return sys.modules["torch"].compile(fill, dynamic=True)


def _products_tensor(out: Any, *parts: Any) -> Any:
    """Fill ``out`` with `_pixels`, or return them on their own where gradients flow."""
    torch = sys.modules["torch"]
    if torch.is_grad_enabled() and parts[0].requires_grad:
        return _pixels(*parts)
    with torch.no_grad():
        if not (out.is_cuda and _can_fuse(out.device) and _filled(out, *parts)):
            out.copy_(_pixels(*parts))
    return out


def _filled(out: Any, *parts: Any) -> bool:
    """Fill ``out`` by the compiled kernel; False where it cannot be compiled, told once."""
    if _Broken.told:
        return False
    try:
        _fused()(out, *parts)
    except Exception as error:  # of many kinds: no headers, a full disk, a driver too old
        _Broken.told = True
        warnings.warn(f"pictures are drawn by plain torch, slower: {error}", stacklevel=5)
    return not _Broken.told


class _Broken:
    """Whether the compiler has failed in this process: it is not tried again."""

    told = False


def _field(x: Any, size: int | None, out: Any, bounds: Any, rescale: str, difference: bool) -> Any:
    x = series("x", x)
    edges = segments(x.shape[-1], size)
    scale = check_scale(x, bounds, rescale)
    size = len(edges) - 1
    image = output(out, (*x.shape[:-1], size, size), x)
    if is_tensor(x):
        cosine, sine = angles_tensor(x, edges, *scale)
        a, b = (sine, cosine) if difference else (cosine, sine)
        return _products_tensor(image, a, b, cosine, sine)
    rows = np.ascontiguousarray(x, np.float64).reshape(-1, x.shape[-1])
    _fill_gramian(rows, edges, *scale, difference, image.reshape(-1, size, size))
    return image


def gasf(
    x: Any,
    size: int | None = None,
    *,
    out: Any = None,
    bounds: tuple[float, float] | None = None,
    rescale: str = "signed",
) -> Any:
    """Return Gramian angular summation fields, cos(phi_i + phi_j).

    Rescaled to [-1, 1], a window and its mirror image -x give the same picture: a net that
    sees nothing else cannot learn direction. A constant window counts as lying at the low
    end of its range: its picture is 1 everywhere (-1 with ``rescale="unit"``).

    Args:
        x: Array or tensor, shape (..., n), n at least 2, any unit; oldest value first.
        size: Side of the picture, within [2, n]; None: n. Smaller than n: means over
            ``size`` segments whose lengths differ by one at most.
        out: Kept float32 buffer of the result's shape, filled and returned.
        bounds: None: each window is rescaled by its own smallest and largest value. Or
            (low, high) for all windows, from training data; a value outside is an error.
        rescale: ``"signed"`` to [-1, 1] or ``"unit"`` to [0, 1].

    Returns:
        float32, shape (..., size, size), within [-1, 1], same kind and device as ``x``;
        gradients flow to a tensor (0 through the sine at the ends of the range).

    Raises:
        ArgumentError: A bad argument, by name.
    """
    return _field(x, size, out, bounds, rescale, difference=False)


def gadf(
    x: Any,
    size: int | None = None,
    *,
    out: Any = None,
    bounds: tuple[float, float] | None = None,
    rescale: str = "signed",
) -> Any:
    """Return Gramian angular difference fields, sin(phi_i - phi_j).

    The picture is antisymmetric, and -x gives its negative: direction can be seen. A
    constant window gives 0 everywhere.

    Args:
        x: As for `gasf`: array or tensor, shape (..., n).
        size: Side of the picture, within [2, n]; None: n.
        out: Kept float32 buffer of the result's shape, filled and returned.
        bounds: None (each window by itself) or (low, high) for all.
        rescale: ``"signed"`` to [-1, 1] or ``"unit"`` to [0, 1].

    Returns:
        float32, shape (..., size, size), within [-1, 1], same kind and device as ``x``.

    Raises:
        ArgumentError: A bad argument, by name.
    """
    return _field(x, size, out, bounds, rescale, difference=True)


def gasf_inverse(image: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """Return the series behind a GASF made with ``rescale="unit"``, from its diagonal.

    GASF_ii = cos(2 phi_i) = 2 x~_i^2 - 1, so x~_i = sqrt((GASF_ii + 1) / 2). What is lost:
    the window's own low and high (give them, or get [0, 1]), the values inside an
    aggregated segment, and, for a picture made with ``rescale="signed"``, the sign: then
    this is \\|x~\\|. Near x~ = 0 the root turns float32's 6e-8 into errors up to 3e-4.

    Args:
        image: GASF, shape (..., m, m).
        low: The series' smallest value, its unit.
        high: The series' largest value, above ``low``.

    Returns:
        Shape (..., m): float64 array, or tensor of the image's own type.

    Raises:
        ArgumentError: Not square, outside [-1, 1], or ``low`` not below ``high``.
    """
    high = number("high", high, number("low", low), math.inf, above=True)
    image = series("image", image) if is_tensor(image) else array("image", image, min_length=2)
    if image.ndim < 2 or image.shape[-1] != image.shape[-2]:
        raise ArgumentError("image", image, "square pictures, shape (..., m, m)")
    if float(abs(image).max()) > 1:
        raise ArgumentError("image", float(abs(image).max()), "values within [-1, 1]")
    diagonal = image.diagonal(0, -2, -1)
    diagonal = diagonal if is_tensor(image) else diagonal.astype(np.float64)
    return low + (high - low) * ((diagonal + 1) / 2) ** 0.5


# ---- Markov transition fields.
#
# Source: Wang and Oates, Imaging Time-Series to Improve Classification and Imputation
# (IJCAI 2015), section 2.2.


@kernel
def _edges(x, places):
    """Return the quantiles of one window at fractional ranks ``places`` (NumPy's linear rule)."""
    ordered = np.sort(x)
    out = np.empty(places.size)
    for k in range(places.size):
        below = int(places[k])
        part = places[k] - below
        a, b = ordered[below], ordered[min(below + 1, x.size - 1)]
        out[k] = a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)
    return out


@kernel
def _matrix(bins, n_bins):
    """Return the (n_bins, n_bins) shares of the moves that leave each bin."""
    counts = np.zeros((n_bins, n_bins), np.float32)
    for t in range(bins.size - 1):
        counts[bins[t], bins[t + 1]] += 1
    for a in range(n_bins):
        total = max(counts[a].sum(), np.float32(1))
        for b in range(n_bins):
            counts[a, b] /= total
    return counts


@kernel
def _columns(matrix, bins, edges):
    """Return (n_bins, size): P(segment j | bin a), the mean over the segment's bars."""
    out = np.zeros((len(matrix), edges.size - 1), np.float32)
    for a in range(len(matrix)):
        for k in range(edges.size - 1):
            for t in range(edges[k], edges[k + 1]):
                out[a, k] += matrix[a, bins[t]]
            out[a, k] /= np.float32(edges[k + 1] - edges[k])
    return out


@kernel(parallel=True)
def _fill_transitions(x, edges, places, out):
    """Fill transition fields (N, size, size) of series (N, n); ``places`` as `_edges` has them."""
    size = edges.size - 1
    for w in prange(len(x)):
        # A value on an edge belongs to the bin below; equal edges leave a bin empty.
        bins = np.searchsorted(_edges(x[w], places), x[w])
        columns = _columns(_matrix(bins, places.size + 1), bins, edges)
        for i in range(size):
            out[w, i] = columns[bins[edges[i]]]
            for t in range(edges[i] + 1, edges[i + 1]):
                for j in range(size):
                    out[w, i, j] += columns[bins[t], j]
            if edges[i + 1] - edges[i] > 1:
                out[w, i] /= np.float32(edges[i + 1] - edges[i])


def _fill_transitions_tensor(x: Any, edges: np.ndarray, places: np.ndarray, out: Any) -> None:
    """Do what `_fill_transitions` does to a tensor (N, n) on its device."""
    torch = sys.modules["torch"]
    x = wide(x.detach())
    ranks = torch.from_numpy(places).to(x)
    below = ranks.long()
    ordered = x.sort(-1).values
    a, b = ordered[:, below], ordered[:, (below + 1).clamp(max=x.shape[-1] - 1)]
    part = ranks - below
    quantiles = torch.where(part < 0.5, a + (b - a) * part, b - (b - a) * (1 - part))
    bins = torch.searchsorted(quantiles.contiguous(), x.contiguous())
    member = torch.nn.functional.one_hot(bins, len(places) + 1).to(x)  # (N, n, n_bins)
    moves = member[:, :-1].mT @ member[:, 1:]  # (N, n_bins, n_bins)
    moves = moves / moves.sum(-1, keepdim=True).clamp(min=1)
    lengths = np.diff(edges)
    shares = torch.stack([part.mean(1) for part in member.split(lengths.tolist(), 1)], 1)
    out.copy_(shares @ moves @ shares.mT)


def transition_field(x: Any, size: int | None = None, n_bins: int = 8, *, out: Any = None) -> Any:
    """Return Markov transition fields: M_ij = P(next bin = bin of x_j | bin of x_i).

    Bins are quantiles of the window itself, so nothing outside it is used; P counts the
    window's own moves from each bar to the next. A constant window gives 1 everywhere. As
    with `gasf`, -x gives the same picture (unless a value lies exactly on a bin's edge).

    Args:
        x: Array or tensor, shape (..., n), n at least 2, any unit; oldest value first.
        size: Side of the picture, within [2, n]; None: n. Smaller than n: means over blocks.
        n_bins: Number of quantile bins, within [2, n].
        out: Kept float32 buffer of the result's shape, filled and returned.

    Returns:
        float32, shape (..., size, size), within [0, 1], same kind and device as ``x``.
        No gradients: a bin does not move with a small change.

    Raises:
        ArgumentError: A bad argument, by name.
    """
    x = series("x", x)
    n = x.shape[-1]
    edges = segments(n, size)
    n_bins = integer("n_bins", n_bins, 2, n)
    places = np.linspace(0, 100, n_bins + 1)[1:-1] / 100 * (n - 1)
    size = len(edges) - 1
    like = x.detach() if is_tensor(x) else x
    image = output(out, (*x.shape[:-1], size, size), like)
    flat = image.reshape(-1, size, size)
    if is_tensor(x):
        _fill_transitions_tensor(like.reshape(-1, n), edges, places, flat)
    else:
        _fill_transitions(np.ascontiguousarray(x, np.float64).reshape(-1, n), edges, places, flat)
    return image
