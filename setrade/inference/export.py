"""The net as an ONNX graph, and the session that runs it.

Source: https://onnx.ai (the format), https://onnxruntime.ai (the runtime).
"""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from setrade.errors import ArgumentError, choice, integer
from setrade.models import SETrader

from .arrays import to_numpy
from .sessions import gpu_session, in_use, open_session

PIECE = 2**20  # bytes of input that one thread takes at a time: a picture of 224 pixels, 21 of 64


class Answers(nn.Module):
    """A net that answers with a tuple: logits (B, 3), and gates (B, C) where they have names."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.gated = isinstance(net, SETrader) and net.se is not None and net.gate == "input"
        # The gates are an answer and a factor: made once, then used by the net without a block.
        self.twin = net.twin().eval() if isinstance(net, SETrader) and self.gated else None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (B, ...) to (logits,) or (logits, gates)."""
        if isinstance(self.net, SETrader) and self.twin is not None:
            gates = self.net.gates(x)
            return self.twin(x * gates[:, :, None]), gates
        return (self.net(x),)


def to_onnx(net: nn.Module, example: Tensor) -> bytes:
    """Return the net as an ONNX model whose batch axis is free.

    The tracing exporter: the newer one wants a package more. It folds batch norms on its way.

    Args:
        net: in eval mode; it stays where it is, of one on a GPU a copy is exported.
        example: (B, ...) float32, of the shape that is meant; B does not matter.

    Raises:
        ArgumentError: a net in training mode, or an example that is no batch of float32.
    """
    if not isinstance(net, nn.Module) or net.training:
        raise ArgumentError("net", type(net).__name__, "a module in eval mode")
    to_numpy("example", example, ("float32",))
    if any(tensor.device.type != "cpu" for tensor in net.state_dict().values()):
        net = deepcopy(net).cpu()
    answers, file = Answers(net).eval(), io.BytesIO()
    names = ["logits", "gates"] if answers.gated else ["logits"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of the exporter; shapes seen as constants
        torch.onnx.export(
            answers, (example.cpu(),), file,  # type: ignore[arg-type]
            dynamo=False, opset_version=17,
            input_names=["images"], output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ["images", *names]},
        )  # fmt: skip
    return file.getvalue()


class OnnxNet:
    """An ONNX Runtime session that is called like a net: tensor in, tuple of tensors out.

    On a CPU a small batch is one call on all threads. A large one is cut into pieces, which the
    threads take in turns, each alone: what a piece leaves between two layers still fits the
    cache, and no thread waits for another after each layer.

    Args:
        model: as `to_onnx` or `quantize` gives it.
        threads: of one call; None: as many as torch uses.
        gpu: CUDA; where it cannot be used, the CPU, with a RuntimeWarning.
        provider: "cpu", "cuda" or "tensorrt", and no other; None: as ``gpu`` says.
        batches: usual and largest number of examples in one call, for which TensorRT builds its
            engine (minutes, the first time); more are split.
        card: number of the GPU.

    ``provider`` is the one in use, ``gpu`` whether that is a GPU.

    Raises:
        ArgumentError: bytes that are no ONNX model, or a number of threads below 1.
        MissingRuntimeError: no ONNX Runtime, or a provider that was named and cannot be used.
    """

    def __init__(
        self, model: bytes, threads: int | None = None, *, gpu: bool = False,
        provider: str | None = None, batches: tuple[int, int] = (1, 256), card: int = 0,
    ) -> None:  # fmt: skip
        threads = torch.get_num_threads() if threads is None else threads
        self.threads, self.card = integer("threads", threads, 1), integer("card", card, 0)
        self.batches = batches
        if provider is not None:
            gpu = choice("provider", provider, ("cpu", "cuda", "tensorrt")) != "cpu"
        if gpu:
            self.session = gpu_session(model, self.threads, provider, batches, card)
        else:
            self.session = open_session(model, self.threads)
        self.provider = in_use(self.session)
        self.gpu = self.provider != "cpu"
        self.single = self.session  # of a thread that works alone
        if self.threads > 1 and not self.gpu:
            self.single = open_session(model, 1)
        self.pool = ThreadPoolExecutor(self.threads, "onnx")  # starts no thread before it is used

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map float32 (B, ...) to (logits,) or (logits, gates), on the device of ``x``.

        A batch that lies on the GPU on which the session runs is read where it is; from
        elsewhere it is copied there and back.
        """
        if self.gpu and x.is_cuda and x.device.index == self.card:
            parts = [bound(self.session, part) for part in x.split(self.batches[1])]
            return tuple(torch.cat(answers) for answers in zip(*parts, strict=True))
        images = np.ascontiguousarray(x.detach().cpu().numpy())
        answers = self._in_pieces(images, self._pieces(images))
        return tuple(torch.from_numpy(np.asarray(answer)).to(x.device) for answer in answers)

    def _pieces(self, images: np.ndarray) -> int:
        """Return into how many pieces a batch is cut."""
        if self.gpu:
            return -(-len(images) // self.batches[1])
        pieces = -(-images.nbytes // PIECE)
        if pieces == 1 or len(images) == 1:
            return 1
        return min(len(images), -(-pieces // self.threads) * self.threads)

    def _in_pieces(self, images: np.ndarray, pieces: int) -> list[np.ndarray]:
        """Return the answers to all pieces, in order."""
        if pieces <= 1:
            return self.session.run(None, {"images": images})  # type: ignore[return-value]
        parts = np.array_split(images, pieces)
        made = map if self.gpu else self.pool.map
        said: Any = made(lambda piece: self.single.run(None, {"images": piece}), parts)
        return [np.concatenate(answers) for answers in zip(*said, strict=True)]


def bound(session: Any, x: Tensor) -> list[Tensor]:
    """Return a session's answers to ``x``, read and written where ``x`` lies, without a copy.

    Args:
        session: on the device of ``x``.
        x: float32 (B, ...), on the CPU or on CUDA.
    """
    x, binding, kind = x.detach().contiguous(), session.io_binding(), x.device.type
    place = (kind, x.device.index or 0, np.float32)
    answers = [
        torch.empty((len(x), *entry.shape[1:]), device=x.device) for entry in session.get_outputs()
    ]
    binding.bind_input("images", *place, tuple(x.shape), x.data_ptr())
    for entry, answer in zip(session.get_outputs(), answers, strict=True):
        binding.bind_output(entry.name, *place, tuple(answer.shape), answer.data_ptr())
    if kind == "cuda":  # ONNX Runtime has a stream of its own
        torch.cuda.current_stream(x.device).synchronize()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return answers
