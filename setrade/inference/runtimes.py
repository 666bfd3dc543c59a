"""One net, many engines: each takes a float32 batch and gives a tuple of float32 answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from setrade.errors import choice

from .export import Answers, OnnxNet, to_onnx
from .fold import fold_batch_norms

Engine = Callable[[Tensor], tuple[Tensor, ...]]
RUNTIMES = ("eager", "channels_last", "folded", "compiled", "bf16", "onnx")


def engine(net: nn.Module, example: Tensor, runtime: str = "eager") -> Engine:
    """Return a callable that does what ``net`` does, on its device.

    Args:
        net: in eval mode.
        example: (1 or more, ...) float32, of the shape that is meant.
        runtime: "eager" PyTorch as it is; "channels_last" pictures stored pixel by pixel;
            "folded" without batch norms; "compiled" by torch.compile, folded; "bf16" autocast to
            bfloat16 (meant for a GPU; slow on a CPU without the instructions); "onnx" by ONNX
            Runtime, with TensorRT or CUDA where the net is on a GPU and the package has them.

    Raises:
        ArgumentError: an unknown runtime.
    """
    choice("runtime", runtime, RUNTIMES)
    if runtime == "onnx":
        gpu = any(p.is_cuda for p in net.parameters())
        return OnnxNet(to_onnx(net.cpu(), example[:1].cpu()), gpu=gpu)
    answers = Answers(fold_batch_norms(net) if runtime in ("folded", "compiled") else net).eval()
    last = example.ndim == 4 and runtime in ("channels_last", "compiled")
    if last:
        answers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            return tuple(answer.float() for answer in self.call(x))
