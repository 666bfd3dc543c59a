"""Make ``import timm`` work beside a torch without CUDA.

PyPI's Linux torchvision is built for the CUDA torch. Beside a CPU-only torch its compiled
operators do not load, and importing it (which timm does) dies on an operator that it
describes but nobody declared. Declaring the missing schemas is enough: timm never calls them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_KEPT = []  # a torch Library withdraws its schemas when it is collected


def declare_missing() -> list[str]:
    """Declare the torchvision operators that this process lacks; return their names.

    One that exists is left alone: declared twice, an operator aborts the process.
    """
    import torch

    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(SCHEMAS[name])
        _KEPT.append(library)
    return missing


def import_torchvision() -> ModuleType:
    """Import torchvision, with its missing operators declared if that is what stops it.

    Raises:
        RuntimeError: torchvision cannot be imported for any other reason.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    declare_missing()
    return import_module("torchvision")


def import_timm() -> ModuleType:
    """Return the timm package: the only way this project imports it.

    Returns:
        The module ``timm``, its submodules reachable by ordinary imports from then on.
    """
    import_torchvision()
    return import_module("timm")
