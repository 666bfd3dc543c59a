"""EfficientNet from the block up, exactly as published, and small enough to train on two cores.

Source: M. Tan and Q. V. Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks (2019).
"""

from setrade.efficientnet.net import (
    STAGES,
    VARIANTS,
    DropConnect,
    EfficientNet,
    MBConv,
    SqueezeExcite2d,
    Stage,
    Variant,
    WeightError,
    from_timm,
    same_pad,
)
from setrade.efficientnet.scaling import (
    Scale,
    compound_scale,
    count_parameters,
    multiply_adds,
    round_channels,
    round_repeats,
    search_coefficients,
)

__all__ = [
    "STAGES",
    "VARIANTS",
    "DropConnect",
    "EfficientNet",
    "MBConv",
    "Scale",
    "SqueezeExcite2d",
    "Stage",
    "Variant",
    "WeightError",
    "compound_scale",
    "count_parameters",
    "from_timm",
    "multiply_adds",
    "round_channels",
    "round_repeats",
    "same_pad",
    "search_coefficients",
]
