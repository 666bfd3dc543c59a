"""The net as an ONNX graph, and the session that runs it.

Source: https://onnx.ai (the format), https://onnxruntime.ai (the runtime).
"""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as state  # type: ignore[attr-defined]
from torch import Tensor, nn

from setrade.errors import ArgumentError, integer
from setrade.models import SETrader

from .arrays import to_numpy

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
NO_MODEL = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf)
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
        net: in eval mode, on the CPU.
        example: (B, ...) float32, of the shape that is meant; B does not matter.

    Raises:
        ArgumentError: a net in training mode, or an example that is no batch of float32.
    """
    if not isinstance(net, nn.Module) or net.training:
        raise ArgumentError("net", type(net).__name__, "a module in eval mode")
    to_numpy("example", example, ("float32",))
    answers, file = Answers(net).eval(), io.BytesIO()
    names = ["logits", "gates"] if answers.gated else ["logits"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of the exporter; shapes seen as constants
        torch.onnx.export(
            answers, (example,), file,  # type: ignore[arg-type]
            dynamo=False, opset_version=17,
            input_names=["images"], output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ["images", *names]},
        )  # fmt: skip
    return file.getvalue()


class OnnxNet:
    """An ONNX Runtime session that is called like a net: tensor in, tuple of tensors out.

    A small batch is one call on all threads. A large one is cut into pieces, which the threads
    take in turns, each alone: what a piece leaves between two layers still fits the cache, and no
    thread waits for another after each layer.

    Args:
        model: as `to_onnx` or `quantize` gives it.
        threads: of one call; None: as many as torch uses.
        gpu: ask for TensorRT, then CUDA, where this onnxruntime has them; else the CPU.

    Raises:
        ArgumentError: bytes that are no ONNX model, or a number of threads below 1.
    """

    def __init__(self, model: bytes, threads: int | None = None, *, gpu: bool = False) -> None:
        threads = torch.get_num_threads() if threads is None else threads
        self.threads = integer("threads", threads, 1)
        self.session = open_session(model, self.threads, providers(gpu))
        self.gpu = self.session.get_providers()[0] != PROVIDERS[-1]
        self.single = self.session  # of a thread that works alone
        if self.threads > 1 and not self.gpu:
            self.single = open_session(model, 1, providers())
        self.pool = ThreadPoolExecutor(self.threads, "onnx")  # starts no thread before it is used

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map float32 (B, ...) to (logits,) or (logits, gates), on the CPU."""
        images = np.ascontiguousarray(x.cpu().numpy())
        pieces = 1 if self.gpu else -(-images.nbytes // PIECE)
        if pieces == 1 or len(images) == 1:
            answers = self.session.run(None, {"images": images})
        else:
            pieces = min(len(images), -(-pieces // self.threads) * self.threads)
            answers = self._in_pieces(np.array_split(images, pieces))
        return tuple(torch.from_numpy(np.asarray(answer)) for answer in answers)

    def _in_pieces(self, pieces: list[np.ndarray]) -> list[np.ndarray]:
        """Return the answers to all pieces, in order."""
        made = self.pool.map(lambda piece: self.single.run(None, {"images": piece}), pieces)
        return [np.concatenate(parts) for parts in zip(*made, strict=True)]


def open_session(model: bytes, threads: int, names: list[str]) -> onnxruntime.InferenceSession:
    """Return a session that computes on so many threads; refuse what is no model."""
    if not isinstance(model, bytes) or not model:  # a str would be taken for a file's name
        raise ArgumentError("model", type(model).__name__, "the bytes of an ONNX model")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, names)
    except NO_MODEL as error:
        raise ArgumentError("model", model, f"the bytes of an ONNX model ({error})") from error


def providers(gpu: bool = False) -> list[str]:
    """Return the execution providers to ask for, best first; the CPU is always the last."""
    here = onnxruntime.get_available_providers()
    return [p for p in PROVIDERS if p in here] if gpu else [PROVIDERS[-1]]
