"""Nets that were trained on photographs, taken over for charts: whole, frozen, or as features.

Sources: J. Yosinski, J. Clune, Y. Bengio, H. Lipson, How Transferable Are Features in Deep Neural
Networks? (2014); M. Tan and Q. V. Le, EfficientNet (2019).
"""

from .boosted import Boosted, extract
from .net import Backbone, Transfer
from .sources import BACKBONES, WeightsUnavailable, imagenet, pretrained, untrained

__all__ = [
    "BACKBONES",
    "Backbone",
    "Boosted",
    "Transfer",
    "WeightsUnavailable",
    "extract",
    "imagenet",
    "pretrained",
    "untrained",
]
