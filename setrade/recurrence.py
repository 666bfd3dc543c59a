"""Recurrence plots, as distances or thresholded, and what can be counted in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from setrade.buffers import is_tensor, output, series, wide
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, integer, number

__all__ = ["embed", "quantify", "recurrence"]


# ---- Recurrence plots.
#
# Sources: Takens, Detecting strange attractors in turbulence (1981), for the embedding;
# Eckmann, Oliffson Kamphorst and Ruelle, Recurrence Plots of Dynamical Systems (Europhysics
# Letters 4, 1987), for the picture.


BLOCK = 32  # rows of one picture that a core takes at a time
AT_ONCE = 2**24  # pixels of pictures that tensors are made of at a time: float64, a few copies


def embed(x: Any, dim: int = 1, delay: int = 1) -> Any:
    """Return the states (x_i, x_{i+delay}, ..., x_{i+(dim-1) delay}) as a view of ``x``.

    Args:
        x: Array or tensor, shape (..., n), oldest value first.
        dim: Values in a state, at least 1.
        delay: Bars between them, at least 1.

    Returns:
        Shape (..., m, dim) with m = n - (dim - 1) delay, at least 2; no copy.

    Raises:
        ArgumentError: A bad argument, or a series too short for two states.
    """
    x = series("x", x)
    m = _states(x.shape[-1], dim, delay)
    if is_tensor(x):
        return x.unfold(-1, (dim - 1) * delay + 1, 1)[..., ::delay]
    span = x.shape[-1] - m + 1
    return np.lib.stride_tricks.sliding_window_view(x, span, axis=-1)[..., ::delay]


def _states(n: int, dim: Any, delay: Any) -> int:
    """Return how many states a series of length ``n`` has: at least two, or an error."""
    dim, delay = integer("dim", dim, 1), integer("delay", delay, 1)
    m = n - (dim - 1) * delay
    if m < 2:
        allowed = f"(dim - 1) * delay <= {n - 2} for series of length {n}"
        raise ArgumentError("dim, delay", (dim, delay), allowed)
    return m


@kernel
def _gaps(x, i, out):
    """Fill ``out`` with the distances from value i of one series to its values 0, 1, ..."""
    here = x[i]
    for j in range(out.size):
        out[j] = abs(here - x[j])


@kernel
def _squares(x, i, dim, delay, row):
    """Fill ``row`` with squared distances from state i of one series to its states 0, 1, ..."""
    row[:] = 0.0
    for k in range(dim):
        here = x[i + k * delay]
        there = x[k * delay : k * delay + row.size]
        for j in range(row.size):
            row[j] += (here - there[j]) * (here - there[j])


@kernel
def _distances(x, i, dim, delay, row):
    """Fill ``row`` with the distances from state i of one series to its states 0, 1, ..."""
    if dim == 1:
        _gaps(x, i, row)
        return
    _squares(x, i, dim, delay, row)
    for j in range(row.size):
        row[j] = np.sqrt(row[j])


@kernel
def _distances32(x, i, dim, delay, rest, out):
    """Fill ``out``, float32, with `_distances` of a ``dim`` above 1; return False if that failed.

    Sums in float64, roots in float32: these are the dear part, and fail only where a square
    is too large or too small for float32. The last three squares are added in registers, for a
    pass over memory costs as much as their arithmetic; ``rest`` takes the others, zero if none.
    """
    first, fits = max(dim - 3, 0), True
    if first > 0:
        _squares(x, i, first, delay, rest)
    a = x[first * delay :]
    b = x[min(first + 1, dim - 1) * delay :]
    c = x[min(first + 2, dim - 1) * delay :]
    here, there, yonder, third = a[i], b[i], c[i], 1.0 if dim > 2 else 0.0
    for j in range(out.size):
        total = rest[j] + (here - a[j]) ** 2 + (there - b[j]) ** 2 + third * (yonder - c[j]) ** 2
        fits &= (total == 0.0) | ((total > 1e-30) & (total < 1e37))
        out[j] = np.sqrt(np.float32(total))
    return fits


@kernel(parallel=True)
def _fill(x, dim, delay, eps, out):
    """Fill ``out`` (N, m, m) with distances, or with 0 and 1 where ``eps`` (N,) is a number."""
    n, m = out.shape[0], out.shape[1]
    blocks = (m + BLOCK - 1) // BLOCK
    for block in prange(n * blocks):
        w, first = block // blocks, block % blocks * BLOCK
        row, rest, plain = np.empty(m), np.zeros(m), np.isnan(eps[w])
        values, picture = x[w], out[w]
        for i in range(first, min(first + BLOCK, m)):
            if plain and dim == 1:
                _gaps(values, i, picture[i])
            elif not (plain and _distances32(values, i, dim, delay, rest, picture[i])):
                _distances(values, i, dim, delay, row)
                for j in range(m):
                    picture[i, j] = row[j] if plain else row[j] <= eps[w]


@kernel(parallel=True)
def _quantiles(x, dim, delay, m, rank):
    """Return for each series the distance of that rank among its pairs i < j."""
    out = np.empty(len(x))
    for w in prange(len(x)):
        pairs, filled, row = np.empty(m * (m - 1) // 2), 0, np.empty(m)
        for i in range(m - 1):
            _distances(x[w], i, dim, delay, row)
            pairs[filled : filled + m - 1 - i] = row[i + 1 :]
            filled += m - 1 - i
        out[w] = np.partition(pairs, rank)[rank]
    return out


def _pictures_tensor(x: Any, m: int, out: Any, make: Callable[[Any], Any]) -> Any:
    """Return ``make`` of a tensor (..., n), as many pictures at a time as memory should hold.

    Where gradients flow all are made at once, for torch keeps what it needs in any case.
    """
    torch = sys.modules["torch"]
    if torch.is_grad_enabled() and x.requires_grad:
        return make(x)
    image = output(out, (*x.shape[:-1], m, m), x.detach())
    rows, flat = x.detach().reshape(-1, x.shape[-1]), image.view(-1, m, m)
    step = max(1, AT_ONCE // (m * m))
    for part, place in zip(rows.split(step), flat.split(step), strict=True):
        place.copy_(make(part))
    return image


def _recurrence_tensor(x: Any, dim: int, delay: int, eps: float | None, rank: int | None) -> Any:
    """Do what `_fill` does to a tensor (..., n), with gradients of the distances."""
    torch = sys.modules["torch"]
    x = wide(x)
    squared: Any = 0.0
    for part in embed(x, dim, delay).unbind(-1):  # (..., m), one for each value of a state
        squared = squared + (part[..., :, None] - part[..., None, :]).square()
    # The slope of the root at 0 is infinite; for equal states it counts as 0.
    apart = squared > 0
    distance = torch.where(apart, squared, torch.ones_like(squared)).sqrt()
    distance = torch.where(apart, distance, torch.zeros_like(squared))
    if eps is None and rank is None:
        return distance.float()
    limit = eps
    if rank is not None:
        i, j = torch.triu_indices(*distance.shape[-2:], offset=1, device=distance.device)
        limit = _ranked(distance[..., i, j], rank)[..., None, None]
    return (distance <= limit).float()


def _ranked(pairs: Any, rank: int) -> Any:
    """Return the value of that rank, from 0, along the last axis."""
    if sys.modules["torch"].are_deterministic_algorithms_enabled():
        return pairs.sort(-1).values[..., rank]  # CUDA's kthvalue is refused there
    return pairs.kthvalue(rank + 1, -1).values


def _threshold(eps: Any, quantile: Any, m: int) -> tuple[float | None, int | None]:
    """Return eps as a value, or as a rank among the m (m - 1) / 2 pairs, or neither."""
    if eps is not None and quantile is not None:
        raise ArgumentError("quantile", quantile, "None where eps is given")
    if quantile is None:
        return (None if eps is None else number("eps", eps, 0.0)), None
    share = number("quantile", quantile, 0.0, 1.0, above=True)
    return None, int(np.ceil(share * (m * (m - 1) // 2) - 1e-9)) - 1


def recurrence(
    x: Any,
    dim: int = 1,
    delay: int = 1,
    eps: float | None = None,
    *,
    out: Any = None,
    quantile: float | None = None,
) -> Any:
    """Return recurrence plots: distances between all states, or 1 where two are close.

    R_ij = Theta(eps - \\|s_i - s_j\\|) with Theta(0) = 1, so that the diagonal always recurs
    and eps = 0 marks equal states. The norm is Euclidean. A series and its mirror image -x
    give the same picture: a net that sees nothing else cannot learn direction. A constant
    window gives distance 0, or 1 everywhere once thresholded.

    Args:
        x: Array or tensor, shape (..., n), any unit; oldest value first. Not rescaled.
        dim: Values in a state (time-delay embedding).
        delay: Bars between them.
        eps: None: distances. Else the threshold, at least 0, in the unit of ``x``.
        out: Kept float32 buffer of the result's shape, filled and returned.
        quantile: The threshold as a share in (0, 1] instead: in each picture the smallest
            distance within which at least this share of its pairs i < j lies.

    Returns:
        float32, shape (..., m, m) with m = n - (dim - 1) delay, same kind and device as
        ``x``. Computed in float64, the last root of a distance in float32 (one unit of its
        last place); gradients flow through distances (0 between equal states), not through
        thresholds.

    Raises:
        ArgumentError: A bad argument, by name.
    """
    x = series("x", x)
    m = _states(x.shape[-1], dim, delay)
    limit, rank = _threshold(eps, quantile, m)
    if is_tensor(x):
        if out is not None:
            output(out, (*x.shape[:-1], m, m), x)  # refused before work, and where gradients flow
        return _pictures_tensor(x, m, out, lambda p: _recurrence_tensor(p, dim, delay, limit, rank))
    image = output(out, (*x.shape[:-1], m, m), x)
    rows = np.ascontiguousarray(x, np.float64).reshape(-1, x.shape[-1])
    limits = np.full(len(rows), np.nan if limit is None else limit)
    if rank is not None:
        limits = _quantiles(rows, dim, delay, m, rank)
    _fill(rows, dim, delay, limits, image.reshape(-1, m, m))
    return image


# ---- Recurrence quantification.
#
# Source: Marwan, Romano, Thiel and Kurths, Recurrence plots for the analysis of complex
# systems (Physics Reports 438, 2007), equations 24, 45, 46, 49 and 58.


MEASURES = ("rr", "det", "lam", "entropy")


@kernel
def _diagonal_lines(image, theiler, lengths):
    """Count diagonal lines by length on both sides, at least ``theiler`` off the main one."""
    m = len(image)
    for offset in range(theiler, m):
        for side in range(1 if offset == 0 else 2):
            length = 0
            for t in range(m - offset):
                i, j = (t, t + offset) if side == 0 else (t + offset, t)
                if image[i, j]:
                    length += 1
                else:
                    lengths[length] += 1
                    length = 0
            lengths[length] += 1


@kernel
def _vertical_lines(image, theiler, lengths):
    """Count vertical lines by length; pixels nearer the diagonal than ``theiler`` end one."""
    m = len(image)
    for j in range(m):
        length = 0
        for i in range(m):
            if image[i, j] and abs(i - j) >= theiler:
                length += 1
            else:
                lengths[length] += 1
                length = 0
        lengths[length] += 1


@kernel
def _share(lengths, shortest):
    """Return the share of recurrent pixels that lie in lines of at least ``shortest``."""
    inside = total = 0
    for length in range(1, lengths.size):
        total += length * lengths[length]
        if length >= shortest:
            inside += length * lengths[length]
    return inside / total if total else 0.0


@kernel
def _entropy(lengths, shortest):
    """Return the Shannon entropy (nats) of the lengths of lines of at least ``shortest``."""
    count, out = lengths[shortest:].sum(), 0.0
    for lines in lengths[shortest:]:
        if lines:
            out -= lines / count * np.log(lines / count)
    return out


@kernel(parallel=True)
def _measure(images, l_min, v_min, theiler, out):
    m = images.shape[1]
    for w in prange(len(images)):
        diagonal, vertical = np.zeros(m + 1, np.int64), np.zeros(m + 1, np.int64)
        _diagonal_lines(images[w], theiler, diagonal)
        _vertical_lines(images[w], theiler, vertical)
        points = (np.arange(m + 1) * diagonal).sum()
        pixels = (m - theiler) * (m - theiler + 1) if theiler else m * m
        out[0, w] = points / pixels
        out[1, w] = _share(diagonal, l_min)
        out[2, w] = _share(vertical, v_min)
        out[3, w] = _entropy(diagonal, l_min)


def _binary(image: Any) -> np.ndarray:
    """Return pictures of 0 and 1 as a uint8 array, or raise."""
    if is_tensor(image):
        image = wide(series("image", image).detach()).cpu().numpy()
    elif isinstance(image, np.ndarray) and image.dtype == bool:
        image = image.view(np.uint8)
    values = array("image", image, min_length=2)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2]:
        raise ArgumentError("image", values, "square pictures, shape (..., m, m)")
    other = values[(values != 0) & (values != 1)]
    if other.size:
        raise ArgumentError("image", other[0], "0 and 1 only: give recurrence() a threshold")
    return np.ascontiguousarray(values, np.uint8)


def quantify(image: Any, l_min: int = 2, v_min: int = 2, theiler: int = 1) -> dict[str, np.ndarray]:
    """Return recurrence rate, determinism, laminarity and entropy of thresholded plots.

    - ``rr``: recurrent pixels over all pixels.
    - ``det``: share of the recurrent pixels in diagonal lines of at least ``l_min``: a
      stretch of the path that runs beside an earlier one.
    - ``lam``: share in vertical lines of at least ``v_min``: a state that stays.
    - ``entropy``: Shannon entropy in nats of the lengths of those diagonal lines.

    Pixels with \\|i - j\\| < ``theiler`` are left out of all four: 1 leaves out the line of
    identity, where every state meets itself; more leaves out neighbours in time; 0 keeps
    all. Where nothing recurs, all four are 0. A line that meets the border counts as it is.

    Args:
        image: Array or tensor of 0 and 1, shape (..., m, m), from `recurrence`.
        l_min: Shortest diagonal line, within [1, m].
        v_min: Shortest vertical line, within [1, m].
        theiler: Half width of the band left out, within [0, m - 1].

    Returns:
        A float64 array of shape (...) for each of the four names.

    Raises:
        ArgumentError: A bad argument, by name.
    """
    values = _binary(image)
    m = values.shape[-1]
    l_min, v_min = integer("l_min", l_min, 1, m), integer("v_min", v_min, 1, m)
    theiler = integer("theiler", theiler, 0, m - 1)
    images = values.reshape(-1, m, m)
    out = np.empty((len(MEASURES), len(images)))
    _measure(images, l_min, v_min, theiler, out)
    return dict(zip(MEASURES, out.reshape(-1, *values.shape[:-2]), strict=True))
