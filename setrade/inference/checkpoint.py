"""Weights and their `Spec` in one safetensors file, which can hold no code.

Source: https://github.com/huggingface/safetensors (the format); the spec, and a sha256 over spec
and tensors, lie in its metadata.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from setrade.errors import ArgumentError
from setrade.files import atomic_path

from .errors import CheckpointError
from .spec import Spec, check_pair

FOLDER = Path(str(files("setrade.inference") / "checkpoints"))


def digest(spec: str, state: dict[str, Tensor]) -> str:
    """Return the sha256 over a spec's JSON and over every tensor's name, type, shape, bytes."""
    total = hashlib.sha256(spec.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # of any dtype
    return total.hexdigest()


def save(path: str | Path, net: nn.Module, spec: Spec) -> Path:
    """Write a net and its spec atomically; return the path.

    Raises:
        CheckpointError: the weights are not those of the net that ``spec`` describes.
        ArgumentError: no path, no module or no `Spec`.
    """
    if not isinstance(path, str | Path):
        raise ArgumentError("path", path, "text or a Path")
    check_pair(net, spec)
    path, text = Path(path), spec.to_json()
    state = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    _try(_fill(spec.build(), state), spec)
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"spec": text, "sha256": digest(text, state)})
    return path


def load(path: str | Path) -> tuple[nn.Module, Spec]:
    """Return the net in eval mode on the CPU, and its spec.

    Args:
        path: a file that `save` wrote, or the name of a checkpoint that comes with the package.

    Raises:
        CheckpointError: no such file, cut short, altered, of another version, other classes,
            preprocessing that cannot be or gives another shape, or weights that do not fit;
            ``name`` says which.
    """
    file = _find(path)
    try:
        with safe_open(file, "pt") as opened:
            about = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError("path", str(path), f"a whole safetensors file ({error})") from error
    if not {"spec", "sha256"} <= set(about):
        raise CheckpointError("metadata", sorted(about), "spec and sha256, as save writes them")
    spec = Spec.from_json(about["spec"])
    if digest(about["spec"], state) != about["sha256"]:
        raise CheckpointError("sha256", about["sha256"], "that of its own contents: it was altered")
    net = _fill(spec.build(), state)
    _try(net, spec)
    return net, spec


def _find(path: str | Path) -> Path:
    """Return the file that is meant, or raise `CheckpointError`."""
    names = sorted(p.stem for p in FOLDER.glob("*.safetensors"))
    if isinstance(path, str | Path):
        with suppress(OSError):  # a name too long for the system, a folder that is closed
            file = Path(path)
            if not file.suffix and not file.exists():
                file = FOLDER / f"{path}.safetensors"
            if file.is_file():
                return file
    seen = str(path) if isinstance(path, Path) else path
    raise CheckpointError("path", seen, f"a file, or one of {names}")


@torch.inference_mode()
def _try(net: nn.Module, spec: Spec) -> None:
    """Raise unless the net takes an example of ``input_shape`` and answers with its classes."""
    try:
        answer = net(torch.zeros(1, *spec.input_shape))
    except (ValueError, RuntimeError) as error:
        allowed = f"what the net takes ({error})"
        raise CheckpointError("input_shape", spec.input_shape, allowed) from error
    if tuple(answer.shape) != (1, len(spec.classes)):
        allowed = f"a net with {len(spec.classes)} outputs, one a class"
        raise CheckpointError("arguments", spec.arguments, allowed)


def _fill(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Return ``net`` with the weights, or name the first that does not fit or is not finite."""
    own = net.state_dict()
    for name in [*own, *(k for k in state if k not in own)]:
        if name not in own or name not in state:
            raise CheckpointError("weights", name, "the net's own tensors, no more and no fewer")
        shape = tuple(own[name].shape)
        if tuple(state[name].shape) != shape or state[name].dtype != own[name].dtype:
            raise CheckpointError(name, state[name], f"{own[name].dtype} of shape {shape}")
        if not torch.isfinite(state[name]).all():
            raise CheckpointError(name, "NaN or infinity", "finite weights")
    net.load_state_dict(state)
    return net
