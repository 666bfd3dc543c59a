"""A device that is not the CPU, on machines that have none: a GPU's manners, a CPU's arithmetic.

Its tensors wrap CPU tensors and say that they lie on the device ``meta``, which torch knows and
nobody here computes on. As on a GPU, NumPy cannot have them before ``.cpu()``, they do not mix
with tensors of the CPU (but for numbers and indices), and a CPU's generator draws nothing there.
With ``float64=False`` there are no doubles either, as on Apple's GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
SCALARS = {Tensor.item, Tensor.__float__, Tensor.__int__, Tensor.__bool__, Tensor.__index__}
ANYWHERE = ("copy_", "_to_copy", "index", "index_put_", "index_put", "_index_put_impl_")


class _State:
    float64 = True


class OnDevice(Tensor):
    """A tensor of the stand-in."""

    home: Tensor

    @staticmethod
    def __new__(cls, home: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, home.shape, strides=home.stride(), storage_offset=home.storage_offset(),
            dtype=home.dtype, layout=home.layout, device=DEVICE,
            requires_grad=home.requires_grad,
        )  # fmt: skip
        made.home = home
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be stored as a CPU's tensor: that is what a loader with ``map_location`` makes of it."""
        return self.home.__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert a device's tensor to numpy. Use Tensor.cpu() first")
        if func == Tensor.is_meta.__get__:  # type: ignore[attr-defined]
            return False
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        if func is Tensor.new_tensor:
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **(kwargs or {})}).to(DEVICE)
        if func is Tensor.detach and torch.is_inference_mode_enabled():
            return args[0]  # torch cannot detach a wrapper there
        if func in SCALARS:
            return func(args[0].cpu())
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Factories(TorchFunctionMode):
    """Sees what is made of numbers, which torch would leave without data on ``meta``."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            asked = kwargs.pop("device")
            return func(*args, **kwargs).to(asked)
        return func(*args, **kwargs)


class _Mode(TorchDispatchMode):
    """Sees the operations that only name the device, such as ``torch.zeros(3, device=...)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _check_mix(name: str, tensors: list[Tensor]) -> None:
    """Refuse what a GPU refuses."""
    at_home = any(isinstance(t, OnDevice) for t in tensors)
    foreign = any(not isinstance(t, OnDevice) and t.ndim for t in tensors)
    if at_home and foreign and name not in ANYWHERE:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation on the CPU, and put the result where the device would have it."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    asked = kwargs.get("device")
    there = any(isinstance(t, OnDevice) for t in tensors)
    there = there if asked is None else torch.device(asked).type == DEVICE.type
    _check_mix(func._schema.name.split("::")[1], tensors)
    if there and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError("expected a generator of the device, found one of the CPU")
    known = {id(t.home): t for t in tensors if isinstance(t, OnDevice)}
    bare = tree_map(lambda x: x.home if isinstance(x, OnDevice) else x, (args, kwargs))
    if asked is not None:
        bare[1]["device"] = torch.device("cpu")
    done = func(*bare[0], **bare[1])

    def place(x: Any) -> Any:
        if not isinstance(x, Tensor) or not there or any(x is t for t in tensors):
            return x
        if x.dtype == torch.float64 and not _State.float64:
            raise TypeError("cannot convert a tensor to float64: the device has none")
        return known[id(x)] if id(x) in known else OnDevice(x)

    return tree_map(place, done)


def _export(*args: Any, **kwargs: Any) -> Any:
    """Export as ever: what is traced lies on the CPU, and the tracer knows no modes."""
    with _disable_current_modes():
        return _EXPORT(*args, **kwargs)


_EXPORT = torch.onnx.export


@contextmanager
def standin(*, float64: bool = True) -> Iterator[torch.device]:
    """Lend the device for a block."""
    _State.float64 = float64
    try:
        with patch("torch.onnx.export", _export), _Factories(), _Mode():
            yield DEVICE
    finally:
        _State.float64 = True
