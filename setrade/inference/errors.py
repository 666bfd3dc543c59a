"""What can be wrong with a checkpoint, with a runtime, and with eight bits."""

from __future__ import annotations

from setrade.errors import ArgumentError


class CheckpointError(ArgumentError):
    """A checkpoint is damaged, of another version, or contradicts itself; ``name`` says where."""


class MissingRuntimeError(ArgumentError):
    """What was asked for is not installed, or cannot be used here; ``allowed`` says what to do."""


class QuantizationRefused(ValueError):
    """An INT8 model decides too often unlike the net that it was made from.

    Attributes:
        agreement: share of examples decided alike, in [0, 1].
        at_least: the share that was asked for.
    """

    def __init__(self, agreement: float, at_least: float) -> None:
        self.agreement, self.at_least = agreement, at_least
        super().__init__(
            f"INT8 refused: {agreement:.1%} of decisions as in float32, at least {at_least:.1%} "
            "wanted; exclude layers, quantise weights per channel, or stay with float32"
        )
