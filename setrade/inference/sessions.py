"""ONNX Runtime's sessions: on which processor they run, and what to do where one is missing.

The package comes in two kinds that exclude each other: extra ``[cpu]`` brings ``onnxruntime``,
extra ``[gpu]`` brings ``onnxruntime-gpu``. It is imported when it is asked for: nets run in
PyTorch without it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import warnings
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from setrade.errors import ArgumentError, choice

from .errors import MissingRuntimeError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

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
    wanted = ("cuda", "cpu") if gpu else ("cpu",)
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
