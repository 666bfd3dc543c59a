"""One net, many engines: PyTorch as it is, folded or compiled, and ONNX Runtime on CPU or GPU.

ONNX Runtime comes in two kinds that exclude each other: extra ``[cpu]`` brings ``onnxruntime``,
extra ``[gpu]`` brings ``onnxruntime-gpu``. It is imported when it is asked for: nets run in
PyTorch without it. Sources: https://onnx.ai (the format), https://onnxruntime.ai (the runtime).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, redirect_stdout, suppress
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn, strided

from setrade.errors import ArgumentError, choice, flag, integer
from setrade.models import SETrader

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class MissingRuntimeError(ArgumentError):
    """What was asked for is not installed, or cannot be used here; ``allowed`` says what to do."""


DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def to_numpy(name: str, value: Any, dtypes: tuple[str, ...] = DTYPES) -> np.ndarray:
    """Return a NumPy array that is or holds ``value``, detached and on the CPU.

    Args:
        name: of the argument, for the error.
        value: an array, or a tensor on any device, with or without gradients.
        dtypes: those that are allowed.

    Raises:
        ArgumentError: neither array nor tensor, masked, sparse, without data (device "meta"), or
            of another dtype, such as bfloat16, which NumPy does not have.
    """
    if isinstance(value, Tensor):
        fits = value.layout is strided and not value.is_nested and not value.is_meta
    else:
        fits = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
    if not fits:
        raise ArgumentError(name, value, "a NumPy array or a dense tensor that holds data")
    if str(value.dtype).removeprefix("torch.") not in dtypes:
        raise ArgumentError(name, value.dtype, " or ".join(dtypes))
    if isinstance(value, Tensor):
        return value.detach().cpu().resolve_neg().numpy()
    return value


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return the convolution that does the work of both, in eval mode.

    Source: B. Jacob et al. (2018), Quantization and Training of Neural Networks, section 3.2.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ArgumentError("net", norm, "batch norms that keep running statistics")
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()  # (C',)
    bias = norm.running_mean.new_zeros(len(scale)) if conv.bias is None else conv.bias
    folded = deepcopy(conv)  # keeps subclasses, and so TensorFlow's padding
    folded.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    folded.bias = nn.Parameter((bias - norm.running_mean) * scale + norm.bias)
    return folded


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Return a copy in eval mode in which every Conv2d followed by a BatchNorm2d is one Conv2d.

    Pairs are looked for inside ``nn.Sequential``, where one follows the other by construction.

    Raises:
        ArgumentError: ``net`` is no module, or in training mode, where the norms still move.
    """
    if not isinstance(net, nn.Module) or net.training:
        raise ArgumentError("net", type(net).__name__, "a module in eval mode")
    copy = deepcopy(net)
    for parent in copy.modules():
        if isinstance(parent, nn.Sequential):
            for i in range(len(parent) - 1):
                conv, norm = parent[i], parent[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    parent[i], parent[i + 1] = _fold(conv, norm), nn.Identity()
    return copy.requires_grad_(False)


# ---- ONNX Runtime's sessions.


PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
EXTRAS = {
    "cpu": "pip install 'setrade[cpu]', or [gpu] on a machine with an NVIDIA GPU",
    "cuda": "pip install 'setrade[gpu]' alone: beside the [cpu] extra only the CPU is seen",
    "tensorrt": "pip install 'setrade[gpu]' and NVIDIA's tensorrt, of the version it wants",
}
ASIDE = ("eager", "channels_last", "folded", "compiled", "bf16")  # runtimes that need none of it


def has_onnxruntime() -> bool:
    """Return whether either kind of ONNX Runtime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def onnxruntime(wanted: str = "onnx") -> ModuleType:
    """Return the package.

    Raises:
        MissingRuntimeError: it is not installed; names what was ``wanted`` of it and the extras.
    """
    try:
        package = importlib.import_module("onnxruntime")
        importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")  # all of it is there
    except ImportError as error:
        allowed = f"one of {', '.join(ASIDE)}, or ONNX Runtime installed: {EXTRAS['cpu']}"
        raise MissingRuntimeError("runtime", wanted, allowed) from error
    return package


def providers(gpu: bool = False) -> list[str]:
    """Return the execution providers to ask for, best first; the CPU is always the last.

    TensorRT is not among them: it builds an engine for minutes, so it has to be asked for by name.
    """
    here = onnxruntime().get_available_providers()
    wanted = ("cuda", "cpu") if flag("gpu", gpu) else ("cpu",)
    return [PROVIDERS[name] for name in wanted if name == "cpu" or PROVIDERS[name] in here]


def in_use(session: InferenceSession) -> str:
    """Return which of `PROVIDERS` a session really runs on, by its short name."""
    first = session.get_providers()[0]
    return next((name for name, long in PROVIDERS.items() if long == first), first)


def open_session(model: bytes, threads: int, names: list[Any] | None = None) -> InferenceSession:
    """Return a session that computes on so many threads; refuse what is no model.

    Args:
        model: as `to_onnx` gives it.
        threads: of one call.
        names: providers to ask for, best first, or pairs of one and its options; None: the CPU.
    """
    if not isinstance(model, bytes) or not model:  # a str would be taken for a file's name
        raise ArgumentError("model", type(model).__name__, "the bytes of an ONNX model")
    package = onnxruntime()
    state = package.capi.onnxruntime_pybind11_state
    options = package.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        # It prints when a provider falls back; `gpu_session` says so in our words.
        with redirect_stdout(io.StringIO()):
            return package.InferenceSession(model, options, names or [PROVIDERS["cpu"]])
    except (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf) as error:
        raise ArgumentError("model", model, f"the bytes of an ONNX model ({error})") from error


def gpu_session(
    model: bytes, threads: int, provider: str | None, batches: tuple[int, int], card: int = 0
) -> InferenceSession:
    """Return a session on the GPU.

    Args:
        model: as `to_onnx` gives it.
        threads: of what is left to the CPU.
        provider: "cuda" or "tensorrt", which it then is; None: CUDA, or the CPU with a warning.
        batches: usual and largest number of examples in a call, for TensorRT.
        card: number of the GPU.

    Raises:
        MissingRuntimeError: the provider that was named cannot be used; says how to get it.
    """
    wanted = "cuda" if provider is None else choice("provider", provider, ("cuda", "tensorrt"))
    place = {"device_id": str(card)}
    asked: list[Any] = [(p, place if p == PROVIDERS["cuda"] else {}) for p in providers(gpu=True)]
    if wanted == "tensorrt" and _load_tensorrt():
        asked = [(PROVIDERS["tensorrt"], tensorrt_options(model, *batches) | place), *asked]
    session = open_session(model, threads, asked)
    found = in_use(session)
    if found == wanted:
        return session
    if provider is not None:
        allowed = f"{found}, which this machine fell back to; for {wanted}: {EXTRAS[wanted]}"
        raise MissingRuntimeError("provider", provider, allowed)
    warnings.warn(
        f"ONNX Runtime cannot use the GPU and runs on the {found.upper()}: {EXTRAS[wanted]}",
        RuntimeWarning, stacklevel=3,
    )  # fmt: skip
    return session


def _load_tensorrt() -> bool:
    """Return whether this ONNX Runtime knows TensorRT; make its libraries known, if installed.

    The list of providers is that of the wheel: it says nothing of what is installed. The package
    ``tensorrt`` keeps its libraries where only its own import finds them; a system's own
    installation the session finds by itself.
    """
    with suppress(ImportError):
        importlib.import_module("tensorrt")
    return PROVIDERS["tensorrt"] in onnxruntime("tensorrt").get_available_providers()


def tensorrt_options(model: bytes, usual: int, largest: int) -> dict[str, str]:
    """Return TensorRT's options: one engine for all batches up to ``largest``, kept on disk.

    Without a profile it builds an engine for each new shape; without a cache at each start.
    """
    import onnx

    shape = onnx.load_model_from_string(model).graph.input[0].type.tensor_type.shape.dim
    sides = "x".join(str(axis.dim_value) for axis in shape[1:])
    spans = {"min": 1, "opt": min(usual, largest), "max": largest}
    kept = cache_folder() / hashlib.sha256(model).hexdigest()[:16]  # its own key lacks the weights
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(kept),
        "trt_timing_cache_enable": "1", "trt_timing_cache_path": str(kept),
        **{f"trt_profile_{end}_shapes": f"images:{n}x{sides}" for end, n in spans.items()},
    }  # fmt: skip


def cache_folder() -> Path:
    """Return where built engines are kept: in this user's cache."""
    home = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    root = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return root / "setrade" / "tensorrt"


# ---- The net as an ONNX graph, and the session that runs it.


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
        ArgumentError: bytes that are no ONNX model, a number of threads below 1, or no flag.
        MissingRuntimeError: no ONNX Runtime, or a provider that was named and cannot be used.
    """

    def __init__(
        self, model: bytes, threads: int | None = None, *, gpu: bool = False,
        provider: str | None = None, batches: tuple[int, int] = (1, 256), card: int = 0,
    ) -> None:  # fmt: skip
        threads = torch.get_num_threads() if threads is None else threads
        self.threads, self.card = integer("threads", threads, 1), integer("card", card, 0)
        self.batches, gpu = batches, flag("gpu", gpu)
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


# ---- Engines: each takes a float32 batch and gives a tuple of float32 answers.


Engine = Callable[[Tensor], tuple[Tensor, ...]]
RUNTIMES = (*ASIDE, "onnx", "tensorrt")
# With ATen held below the processor, as `make` does, vector code of torch.compile has written wrong
# numbers (tests/test_gramian.py): it is then told to write scalar code.
PINNED = "ATEN_CPU_CAPABILITY" in os.environ


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
    call = answers
    if runtime == "compiled":
        call = torch.compile(answers, dynamic=None, options={"cpp.simdlen": 1} if PINNED else None)
    return _TorchEngine(call, last=last, half=runtime == "bf16")


class _TorchEngine:
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
