"""Gramian angular fields: a series as the cosines or sines of sums or differences of angles.

With x~ the rescaled series and phi = arccos(x~), GASF_ij = cos(phi_i + phi_j) and
GADF_ij = sin(phi_i - phi_j). Both are of rank two, so that no arccos and no cosine is
needed: GASF = x~ x~' - s s' and GADF = s x~' - x~ s' with s = sqrt(1 - x~^2).
Source: Wang and Oates, Imaging Time-Series to Improve Classification and Imputation
(IJCAI 2015), equations 1 to 5.
"""

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

from setrade.buffers import is_tensor, output, series
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, number
from setrade.gramian.scaling import angles, angles_tensor, check_scale, segments

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
def _fill(x, edges, low, high, start, difference, out):
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
    _fill(rows, edges, *scale, difference, image.reshape(-1, size, size))
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
