"""What a file of weights does not say by itself: which net, fed how, answering what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from setrade.candles.intervals import parse_interval
from setrade.channels import Standardizer
from setrade.efficientnet import EfficientNet
from setrade.errors import ArgumentError, integer
from setrade.models import SETrader
from setrade.pictures import Encoder
from setrade.signals import CLASSES

from . import preprocessing
from .errors import CheckpointError

FORMAT = 1
NETS = {"SETrader": ("windows", "channels"), "EfficientNet": ("pictures", "in_channels")}
AXES = {"windows": ("channels", "bars"), "pictures": ("channels", "height", "width")}


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
        self._check_interval()
        shape = self._checked_shape()
        preprocessing.try_out(self.preprocessing, NETS[self.architecture][0], shape)

    def _check_interval(self) -> None:
        try:
            if not isinstance(self.interval, str):
                raise ArgumentError("interval", self.interval, "text such as '15min'")
            parse_interval("interval", self.interval)
        except ArgumentError as error:
            raise CheckpointError("interval", error.value, error.allowed) from error

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
        return preprocessing.standardizer(self.preprocessing["standardizer"])

    def encoder(self) -> Encoder:
        """Return the encoder that draws a picture of ``input_shape`` (pictures only)."""
        return preprocessing.picture_encoder(self.preprocessing, self.input_shape[-1])

    def to_json(self) -> str:
        """Return the fields as JSON, keys in order."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Return the `Spec` that `to_json` wrote; raise `CheckpointError` for anything else."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError("spec", text, "the JSON object that save writes") from error
        if not isinstance(fields, dict):
            raise CheckpointError("spec", text, "the JSON object that save writes")
        _check_format(fields.get("format"))  # first: another version may have other fields
        given: dict[str, Any] = fields
        for name in ("classes", "input_shape"):
            value = given.get(name)
            given[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**given)
        except TypeError as error:
            raise CheckpointError("spec", str(error), "the fields of Spec") from error


def check_pair(net: Any, spec: Any) -> None:
    """Raise `ArgumentError` unless these are a module and a `Spec`."""
    for name, value, kind in (("net", net, nn.Module), ("spec", spec, Spec)):
        if not isinstance(value, kind):
            raise ArgumentError(name, value, "a module and the Spec that describes it")


def _check_format(version: Any) -> None:
    if type(version) is not int or version != FORMAT:  # True and 1.0 are equal to 1
        raise CheckpointError("format", version, f"{FORMAT}: this version reads no other")
