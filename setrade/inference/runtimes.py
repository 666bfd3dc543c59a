"""One net, many engines: each takes a float32 batch and gives a tuple of float32 answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import Tensor, nn

from setrade.errors import choice, integer

from .export import Answers, OnnxNet, to_onnx
from .fold import fold_batch_norms
from .sessions import ASIDE, PROVIDERS, has_onnxruntime, onnxruntime

Engine = Callable[[Tensor], tuple[Tensor, ...]]
RUNTIMES = (*ASIDE, "onnx", "tensorrt")


def plain(device: torch.device) -> str:
    """Return the runtime to use unasked: ONNX Runtime where it is, and can use the device."""
    if not has_onnxruntime() or device.type not in ("cpu", "cuda"):
        return "eager"
    here = device.type == "cpu" or PROVIDERS["cuda"] in onnxruntime().get_available_providers()
    return "onnx" if here else "eager"


def engine(net: nn.Module, example: Tensor, runtime: str = "eager", *, most: int = 256) -> Engine:
    """Return a callable that does what ``net`` does, on its device; the net stays as it is.

    On a CPU engines give the same answers to 1e-5, bf16 aside. On a GPU they do to 1e-2: torch
    and ONNX Runtime round the factors of convolutions to ten bits there (TF32).

    Args:
        net: in eval mode.
        example: (1 or more, ...) float32, of the shape that is meant.
        runtime: "eager" PyTorch as it is; "channels_last" pictures stored pixel by pixel;
            "folded" without batch norms; "compiled" by torch.compile, folded; "bf16" autocast to
            bfloat16 (meant for a GPU; slow on a CPU without the instructions); "onnx" by ONNX
            Runtime, on CUDA where the net is on a GPU (with a RuntimeWarning and on the CPU where
            the package cannot); "tensorrt" by ONNX Runtime with TensorRT, or not at all.
        most: examples in one call, for "tensorrt".

    Raises:
        ArgumentError: an unknown runtime.
        MissingRuntimeError: one that is not installed, or cannot be used here.
    """
    choice("runtime", runtime, RUNTIMES)
    if runtime in ("onnx", "tensorrt"):
        onnxruntime(runtime)  # before the export, which takes a while
        named = runtime if runtime == "tensorrt" else None
        return OnnxNet(
            to_onnx(net, example[:1]), gpu=example.is_cuda, provider=named,
            batches=(1, integer("most", most, 1)), card=example.device.index or 0,
        )  # fmt: skip
    if runtime in ("folded", "compiled"):
        net = fold_batch_norms(net)
    last = example.ndim == 4 and runtime in ("channels_last", "compiled")
    if last:  # of a copy: the caller's net keeps its layout
        net = deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answers = Answers(net).eval()
    call = _compiled(answers) if runtime == "compiled" else answers
    return _Torch(call, last=last, half=runtime == "bf16")


def _compiled(answers: nn.Module) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return ``answers`` compiled for any batch size."""
    # With AVX2 code paths pinned, inductor's own search for vector instructions finds none.
    return torch.compile(answers, dynamic=None, options={"cpp.simdlen": 1})


class _Torch:
    """A call in inference mode, on the net's device."""

    def __init__(self, call: Engine, *, last: bool, half: bool) -> None:
        self.call, self.last, self.half = call, last, half

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map float32 (B, ...) to float32 answers."""
        x = x.contiguous(memory_format=torch.channels_last) if self.last else x
        half = torch.autocast(x.device.type, torch.bfloat16) if self.half else nullcontext()
        with half:
            return tuple(answer.float() for answer in self.call(x))
