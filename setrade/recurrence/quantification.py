"""Recurrence quantification: the textures of a recurrence plot as four numbers.

Source: Marwan, Romano, Thiel and Kurths, Recurrence plots for the analysis of complex
systems (Physics Reports 438, 2007), equations 24, 45, 46, 49 and 58.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from setrade.buffers import is_tensor
from setrade.compiled import kernel
from setrade.errors import ArgumentError, array, integer

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
    for number in lengths[shortest:]:
        if number:
            out -= number / count * np.log(number / count)
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
        image = image.detach().cpu().numpy()
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
