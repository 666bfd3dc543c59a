"""Checkpoints: weights, and all that a file of weights does not say: which net, fed how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from setrade.candles.checks import parse_interval
from setrade.channels import GROUPS, Standardizer
from setrade.efficientnet import EfficientNet
from setrade.errors import ArgumentError, choice, integer
from setrade.files import atomic_path
from setrade.labels import CLASSES
from setrade.models import SETrader
from setrade.pictures import ENCODERS, Encoder, encoder
from setrade.training import CheckpointError

FORMAT = 1
NETS = {"SETrader": ("windows", "channels"), "EfficientNet": ("pictures", "in_channels")}
AXES = {"windows": ("channels", "bars"), "pictures": ("channels", "height", "width")}
CHANNELS = tuple(name for group in GROUPS if group != "order_flow" for name in GROUPS[group])
FIELDS = {
    "windows": {"kind", "columns", "scale_free", "standardizer"},
    "pictures": {"kind", "encoder", "options", "bars"},
}
MOST_BARS, MOST_PIXELS = 100_000, 4_096  # of a window, and of a side: a damaged file asks for more
FOLDER = Path(str(files("setrade.inference") / "checkpoints"))


@contextmanager
def _refused() -> Iterator[None]:
    """Raise what a check of one field finds as a `CheckpointError`, which names the field."""
    try:
        yield
    except ArgumentError as error:
        raise CheckpointError(error.name, error.value, error.allowed) from error


def zigzag(bars: int, limits: Any = None) -> np.ndarray:
    """Return one window (1, 5, bars) of candles that go up and down in turns.

    Args:
        bars: how many.
        limits: a price range to stay within; anything but two numbers is for the encoder to judge.
    """
    two = isinstance(limits, list | tuple) and len(limits) == 2
    fits = two and all(isinstance(v, int | float) for v in limits)
    low, high = sorted(limits) if fits else (1.0, 2.0)
    first, second = (low + share * (high - low) for share in (0.4, 0.6))
    up = np.arange(bars) % 2 == 0
    opens, closes = np.where(up, first, second), np.where(up, second, first)
    ends = np.full(bars, second), np.full(bars, first)
    return np.stack([opens, *ends, closes, np.ones(bars)])[None]


def _check_format(version: Any) -> None:
    if type(version) is not int or version != FORMAT:  # True and 1.0 are equal to 1
        raise CheckpointError("format", version, f"{FORMAT}: this version reads no other")


@dataclass(frozen=True)
class Spec:
    """All that a `Predictor` has to know beside the weights.

    Args:
        architecture: "SETrader" or "EfficientNet".
        arguments: of its constructor.
        preprocessing: ``kind`` "windows" with ``columns`` (names of channels, in order),
            ``scale_free`` and ``standardizer`` (as ``Standardizer.to_dict`` gives it); or
            ``kind`` "pictures" with ``encoder`` (a name in ``pictures.ENCODERS``), its
            ``options`` and ``bars``, the bars of a picture.
        input_shape: of one example: (C, T), or (C, H, W).
        interval: of the bars that it was trained on, as a pandas offset.
        classes: what the outputs mean: sell, hold, buy, in this order.
        format: version of this layout.

    What can be tried without weights is tried at once: the preprocessing is built, and draws one
    picture, whose shape has to be ``input_shape``.

    Raises:
        CheckpointError: names the field that is wrong or contradicts another.
    """

    architecture: str
    arguments: dict[str, Any]
    preprocessing: dict[str, Any]
    input_shape: tuple[int, ...]
    interval: str
    classes: tuple[str, ...] = CLASSES
    format: int = FORMAT

    def __post_init__(self) -> None:
        _check_format(self.format)
        if not isinstance(self.architecture, str) or self.architecture not in NETS:
            raise CheckpointError("architecture", self.architecture, f"one of {sorted(NETS)}")
        if not isinstance(self.classes, list | tuple) or tuple(self.classes) != CLASSES:
            raise CheckpointError("classes", self.classes, f"{CLASSES}, in this order")
        if not isinstance(self.interval, str):
            raise CheckpointError("interval", self.interval, "text such as '15min'")
        with _refused():
            parse_interval("interval", self.interval)
        shape, given = self._checked_shape(), self.preprocessing
        kind = NETS[self.architecture][0]
        if not isinstance(given, dict) or set(given) != FIELDS[kind] or given["kind"] != kind:
            allowed = f"kind {kind!r} with {sorted(FIELDS[kind])}"
            raise CheckpointError("preprocessing", given, allowed)
        if kind == "windows":
            self._check_windows(shape)
        else:
            self._check_pictures(shape)

    def _checked_shape(self) -> tuple[int, ...]:
        """Return the shape of one example, which the net's first argument has to fit."""
        kind, argument = NETS[self.architecture]
        if not isinstance(self.arguments, dict):
            raise CheckpointError("arguments", self.arguments, f"those of {self.architecture}")
        shape, channels, rank = self.input_shape, self.arguments.get(argument, 3), len(AXES[kind])
        axes = ", ".join((f"{channels} {argument} as in the net's arguments", *AXES[kind][1:]))
        allowed = f"whole numbers: {axes}"
        if not isinstance(shape, list | tuple) or len(shape) != rank or shape[0] != channels:
            raise CheckpointError("input_shape", shape, allowed)
        try:
            return tuple(integer("input_shape", n, 1) for n in shape)
        except ArgumentError as error:
            raise CheckpointError("input_shape", shape, allowed) from error

    def _check_windows(self, shape: tuple[int, ...]) -> None:
        """Raise unless the columns are channels, and the standardizer's own."""
        columns, scale_free = self.preprocessing["columns"], self.preprocessing["scale_free"]
        known = isinstance(columns, list | tuple) and all(c in CHANNELS for c in columns)
        if not known or len(set(columns)) != len(columns):
            raise CheckpointError("columns", columns, f"different names out of {list(CHANNELS)}")
        if len(columns) != shape[0]:
            raise CheckpointError("columns", columns, f"{shape[0]} names, one a channel")
        if not isinstance(scale_free, bool):
            raise CheckpointError("scale_free", scale_free, "true or false")
        made = self.standardizer()
        if made.columns != tuple(columns):
            raise CheckpointError("columns", columns, "those of the standardizer, in order")
        with np.errstate(over="ignore"):
            zeros = made.transform(np.zeros((1, len(columns)))).astype(np.float32)
        if not np.isfinite(zeros).all():
            allowed = "means and scales that float32 can hold"
            raise CheckpointError("standardizer", self.preprocessing["standardizer"], allowed)
        if shape[1] > MOST_BARS:
            raise CheckpointError("input_shape", shape, f"at most {MOST_BARS} bars")

    def _check_pictures(self, shape: tuple[int, ...]) -> None:
        """Raise unless the encoder draws a picture of this shape from that many bars."""
        given = self.preprocessing
        if shape[1] != shape[2] or shape[1] > MOST_PIXELS:
            allowed = f"height and width alike, as encoders draw, at most {MOST_PIXELS} pixels"
            raise CheckpointError("input_shape", shape, allowed)
        with _refused():
            bars = integer("bars", given["bars"], 1, MOST_BARS)
        made = self.encoder()
        try:
            drawn = made.draw(zigzag(bars, given["options"].get("price_range")))
        except Exception as error:  # whatever foreign options make of a drawing
            field = "options" if isinstance(error, TypeError) else "preprocessing"
            allowed = f"bars and options with which {given['encoder']!r} can draw ({error})"
            raise CheckpointError(field, given.get(field, given), allowed) from error
        gives = drawn.shape[1:] if drawn.ndim == 4 else (1, *drawn.shape[1:])
        if gives != shape:
            allowed = f"{gives}, as {given['encoder']!r} draws it"
            raise CheckpointError("input_shape", shape, allowed)

    @property
    def kind(self) -> str:
        """Return "windows" or "pictures"."""
        return self.preprocessing["kind"]

    def build(self) -> nn.Module:
        """Return the net with drawn weights, in eval mode."""
        nets: dict[str, type[nn.Module]] = {"SETrader": SETrader, "EfficientNet": EfficientNet}
        try:
            return nets[self.architecture](**self.arguments).eval()
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise CheckpointError("arguments", self.arguments, str(error)) from error

    def standardizer(self) -> Standardizer:
        """Return the standardizer of the training rows (windows only)."""
        state = self.preprocessing["standardizer"]
        try:
            return Standardizer.from_dict(state)
        except (TypeError, ValueError, OverflowError) as error:  # an ArgumentError is a ValueError
            allowed = error.allowed if isinstance(error, ArgumentError) else f"numbers ({error})"
            raise CheckpointError("standardizer", state, allowed) from error

    def encoder(self) -> Encoder:
        """Return the encoder that draws a picture of ``input_shape`` (pictures only)."""
        name, options = self.preprocessing["encoder"], self.preprocessing["options"]
        with _refused():
            choice("encoder", name, ENCODERS)
        try:
            return encoder(name, self.input_shape[-1], **options)
        except (TypeError, ValueError) as error:
            raise CheckpointError("options", options, f"those of {name!r} ({error})") from error

    def to_json(self) -> str:
        """Return the fields as JSON, keys in order."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Return the `Spec` that `to_json` wrote; raise `CheckpointError` for anything else."""
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError("spec", text, "the JSON object that save writes") from error
        if not isinstance(fields, dict):
            raise CheckpointError("spec", text, "the JSON object that save writes")
        _check_format(fields.get("format"))  # first: another version may have other fields
        for name in ("classes", "input_shape"):
            value = fields.get(name)
            fields[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**fields)
        except TypeError as error:
            raise CheckpointError("spec", str(error), "the fields of Spec") from error


def check_pair(net: Any, spec: Any) -> None:
    """Raise `ArgumentError` unless these are a module and a `Spec`."""
    for name, value, kind in (("net", net, nn.Module), ("spec", spec, Spec)):
        if not isinstance(value, kind):
            raise ArgumentError(name, value, "a module and the Spec that describes it")


# ---- Weights and their `Spec` in one safetensors file, which can hold no code.
#
# Source: https://github.com/huggingface/safetensors (the format); the spec, and a sha256 over spec
# and tensors, lie in its metadata.


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
    _check_answer(_with_weights(spec.build(), state), spec)
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
    net = _with_weights(spec.build(), state)
    _check_answer(net, spec)
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
def _check_answer(net: nn.Module, spec: Spec) -> None:
    """Raise unless the net takes an example of ``input_shape`` and answers with its classes."""
    try:
        answer = net(torch.zeros(1, *spec.input_shape))
    except (ValueError, RuntimeError) as error:
        allowed = f"what the net takes ({error})"
        raise CheckpointError("input_shape", spec.input_shape, allowed) from error
    if tuple(answer.shape) != (1, len(spec.classes)):
        allowed = f"a net with {len(spec.classes)} outputs, one a class"
        raise CheckpointError("arguments", spec.arguments, allowed)


def _with_weights(net: nn.Module, state: dict[str, Tensor]) -> nn.Module:
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
