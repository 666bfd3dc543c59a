"""Squeeze and excitation on channel tensors ``(batch, channels, time)``, newest bar last.

A squeeze turns each channel's window into one number, an excitation turns these numbers into
gates between 0 and 1, and the block multiplies each channel by its gate. Whatever a block
here computes for a window, it computes from that window alone.

Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018,
https://arxiv.org/abs/1709.01507.
"""

from setrade.se.block import Excitation, MultiScaleSE, SEBlock
from setrade.se.cached import CachedSE
from setrade.se.concurrent import CBAM, ConcurrentSE
from setrade.se.squeezes import SQUEEZES, Squeeze

__all__ = [
    "CBAM",
    "SQUEEZES",
    "CachedSE",
    "ConcurrentSE",
    "Excitation",
    "MultiScaleSE",
    "SEBlock",
    "Squeeze",
]
