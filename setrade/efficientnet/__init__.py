"""EfficientNet from the block up, exactly as published, and small enough to train on two cores.

Source: M. Tan and Q. V. Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks (2019), and EfficientNetV2: Smaller Models and Faster Training (2021).
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
from setrade.efficientnet.v2 import (
    VARIANTS_V2,
    EfficientNetV2,
    FusedMBConv,
    Phase,
    StageV2,
    VariantV2,
    from_timm_v2,
    progressive,
)

__all__ = [
    "STAGES",
    "VARIANTS",
    "VARIANTS_V2",
    "DropConnect",
    "EfficientNet",
    "EfficientNetV2",
    "FusedMBConv",
    "MBConv",
    "Phase",
    "Scale",
    "SqueezeExcite2d",
    "Stage",
    "StageV2",
    "Variant",
    "VariantV2",
    "WeightError",
    "compound_scale",
    "count_parameters",
    "from_timm",
    "from_timm_v2",
    "multiply_adds",
    "progressive",
    "round_channels",
    "round_repeats",
    "same_pad",
    "search_coefficients",
]
