"""From encoders to what enters a net: composed pictures, stacks, and a streaming loader.

Pictures come in two kinds: uint8 from charts, float from Gramian fields and their like.
`to_input` is the one place that maps either to what a net is given: float32 ``(B, C, H, W)``
in [0, 1].
"""

from setrade.pictures.compose import (
    ENCODERS,
    Encoder,
    Stack,
    book_imbalance,
    compose,
    encoder,
    to_input,
    volume_profile,
)
from setrade.pictures.loader import PictureSet
from setrade.pictures.ohlc import PriceTrends, ohlc

__all__ = [
    "ENCODERS",
    "Encoder",
    "PictureSet",
    "PriceTrends",
    "Stack",
    "book_imbalance",
    "compose",
    "encoder",
    "ohlc",
    "to_input",
    "volume_profile",
]
