"""Strategy 1, end to end: a picture goes in, probabilities of sell, hold and buy come out.

Source: Tan and Le (2019) for the net; the classes are the book's, in the book's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from setrade.efficientnet import EfficientNet, Variant
from setrade.errors import ArgumentError

CLASSES = ("sell", "hold", "buy")  # 0, 1, 2, everywhere


class PictureNet(EfficientNet):
    """An EfficientNet whose outputs are the logits of sell, hold and buy.

    Args:
        variant: a name in ``efficientnet.VARIANTS``, or a `Variant`.
        in_channels: of the picture: 3 for candles, one more for each Gramian field stacked on.
        classes: what the outputs mean; given by a file or a config, checked against the order
            that labels, signals and backtest share.
        drop_connect: as in `EfficientNet`.

    Raises:
        ArgumentError: names the argument; ``classes`` in any other order.
    """

    def __init__(
        self,
        variant: str | Variant = "micro",
        in_channels: int = 3,
        *,
        classes: Sequence[str] = CLASSES,
        drop_connect: float = 0.0,
    ) -> None:
        if isinstance(classes, str) or tuple(classes) != CLASSES:
            raise ArgumentError("classes", classes, f"{CLASSES}, in this order")
        super().__init__(variant, len(CLASSES), in_channels, drop_connect)
        self.classes = CLASSES

    def probabilities(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) to probabilities (B, 3) of sell, hold, buy."""
        return self(x).softmax(1)
