"""What a file of weights does not say by itself: which net, fed how, answering what."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from setrade.channels import Standardizer
from setrade.efficientnet import EfficientNet
from setrade.errors import ArgumentError
from setrade.models import SETrader
from setrade.signals import CLASSES

from .errors import CheckpointError

FORMAT = 1
PREPROCESSING = {
    "windows": {"columns", "scale_free", "standardizer"},
    "pictures": {"encoder", "options", "bars"},
}
NETS = {"SETrader": ("windows", "channels"), "EfficientNet": ("pictures", "in_channels")}


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
        if self.format != FORMAT:
            raise CheckpointError("format", self.format, f"{FORMAT}: this version reads no other")
        if self.architecture not in NETS:
            raise CheckpointError("architecture", self.architecture, f"one of {sorted(NETS)}")
        if not isinstance(self.classes, list | tuple) or tuple(self.classes) != CLASSES:
            raise CheckpointError("classes", self.classes, f"{CLASSES}, in this order")
        self._check_preprocessing()
        self._check_shape()

    def _check_preprocessing(self) -> None:
        kind, _ = NETS[self.architecture]
        given = self.preprocessing
        wanted = PREPROCESSING[kind] | {"kind"}
        if not isinstance(given, dict) or set(given) != wanted or given["kind"] != kind:
            raise CheckpointError("preprocessing", given, f"kind {kind!r} with {sorted(wanted)}")
        if kind == "windows":
            columns = list(given["columns"])
            if given["standardizer"].get("columns") != columns:
                raise CheckpointError("columns", columns, "those of the standardizer, in order")

    def _check_shape(self) -> None:
        kind, argument = NETS[self.architecture]
        shape, channels = tuple(self.input_shape), self.arguments.get(argument, 3)
        rank = 2 if kind == "windows" else 3
        whole = all(isinstance(n, int) and n > 0 for n in shape)
        if len(shape) != rank or not whole or shape[0] != channels:
            allowed = f"{rank} whole numbers, the first {channels}, as the net has {argument}"
            raise CheckpointError("input_shape", shape, allowed)
        columns = self.preprocessing.get("columns", range(channels))
        if len(columns) != channels:
            raise CheckpointError("columns", columns, f"{channels} names, one a channel")

    @property
    def kind(self) -> str:
        """Return "windows" or "pictures"."""
        return self.preprocessing["kind"]

    def build(self) -> nn.Module:
        """Return the net with drawn weights, in eval mode."""
        nets: dict[str, type[nn.Module]] = {"SETrader": SETrader, "EfficientNet": EfficientNet}
        try:
            return nets[self.architecture](**self.arguments).eval()
        except (TypeError, ArgumentError) as error:
            raise CheckpointError("arguments", self.arguments, str(error)) from error

    def standardizer(self) -> Standardizer:
        """Return the standardizer of the training rows (windows only)."""
        return Standardizer.from_dict(self.preprocessing["standardizer"])

    def to_json(self) -> str:
        """Return the fields as JSON, keys in order."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Spec:
        """Return the `Spec` that `to_json` wrote; raise `CheckpointError` for anything else."""
        try:
            fields = json.loads(text)
            version = fields.get("format")
        except (json.JSONDecodeError, AttributeError) as error:
            raise CheckpointError("spec", text, "the JSON object that save writes") from error
        if version != FORMAT:  # first: another version may have other fields
            raise CheckpointError("format", version, f"{FORMAT}: this version reads no other")
        try:
            given: dict[str, Any] = fields
            for name in ("classes", "input_shape"):
                given[name] = tuple(given[name]) if isinstance(given[name], list) else given[name]
            return cls(**given)
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError("spec", str(error), "the fields of Spec") from error
