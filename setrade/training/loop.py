"""Training: `fit`, one loop for every net of the book, its plan, losses and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from setrade.errors import ArgumentError, array, flag, instance, integer, number, tensor
from setrade.files import atomic_path
from setrade.training.data import batches, check_source, count_batches
from setrade.training.data import device as pick_device


@dataclass(frozen=True)
class Plan:
    """How to train: all that decides the result beside net, data and loss."""

    num_epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 256
    weight_decay: float = 0.0
    patience: int = 5  # epochs without a better validation loss before stopping
    clip: float = 1.0  # largest norm of the gradient
    seed: int = 0  # of the shuffling
    amp: bool = True  # on CUDA: bfloat16 forward passes (float16 on old cards); else no effect

    def __post_init__(self) -> None:
        integer("num_epochs", self.num_epochs, 1)
        integer("batch_size", self.batch_size, 1)
        integer("patience", self.patience, 1)
        integer("seed", self.seed, 0)
        number("lr", self.lr, 0, above=True)
        number("weight_decay", self.weight_decay, 0)
        number("clip", self.clip, 0, above=True)
        flag("amp", self.amp)


@dataclass
class History:
    """What happened: losses by epoch (from 1), the best epoch, and whether patience ran out."""

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    device: str = "cpu"
    precision: str = "float32"  # of the forward pass: mixed precision on CUDA says which


def _sound(history: History) -> History:
    """Return what a run left; raise `ArgumentError` for what none of an epoch or more leaves."""
    n = len(array("train_loss", instance("train_loss", history.train_loss, list, "a list"), ndim=1))
    for name, values in (("val_loss", history.val_loss), ("seconds", history.seconds)):
        if instance(name, values, list, "a list"):
            integer(name, len(array(name, values, ndim=1)), 1, n)
    integer("best_epoch", history.best_epoch, 1, n)
    flag("stopped_early", history.stopped_early)
    return history


def class_weights(y: Tensor, num_classes: int = 3) -> Tensor:
    """Return weights (num_classes,) that make every class count alike: n / (k · count).

    Args:
        y: targets (n,), int64.
        num_classes: k; each class must occur.

    Returns:
        float32 weights whose mean over the examples is 1, for ``nn.CrossEntropyLoss(weight=...)``.
    """
    num_classes = integer("num_classes", num_classes, 2)
    if tensor("y", y, ndim=1, floats=False).dtype != torch.int64:
        raise ArgumentError("y", y, "an int64 tensor of classes")
    if y.min() < 0 or y.max() >= num_classes:
        raise ArgumentError("y", y, f"classes 0 … {num_classes - 1}")
    counts = torch.bincount(y, minlength=num_classes)
    if (counts == 0).any():
        raise ArgumentError("y", counts.tolist(), "at least one example of each class (counts)")
    return len(y) / (num_classes * counts.float())


class PositionLoss(nn.Module):
    """Minus the mean profit after costs of positions in [-1, 1]: the loss of a tanh head.

    Profit of one example: ``p · r - cost · |p|``, with the forward return r. Each example pays its
    own round trip, which is the worst case: a position that is kept pays less.

    Args:
        cost: the round trip as a fraction, e.g. 0.0013.
        unit: returns are divided by it, so that the loss is of order one; e.g. the standard
            deviation of the training returns.
    """

    def __init__(self, cost: float = 0.0, unit: float = 1.0) -> None:
        super().__init__()
        self.cost, self.unit = number("cost", cost, 0), number("unit", unit, 0, above=True)

    def forward(self, position: Tensor, returns: Tensor) -> Tensor:
        """Return the scalar loss of positions (B,) and forward returns (B,)."""
        for name, x in (("position", position), ("returns", returns)):
            dense = isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta
            if not dense or not (x.is_floating_point() or name == "returns") or x.is_complex():
                raise ArgumentError(name, x, "a dense tensor of numbers (B,)")
        if position.shape != returns.shape:
            raise ArgumentError(
                "position", position, f"the shape of returns, {tuple(returns.shape)}"
            )
        return -(position * returns - self.cost * position.abs()).mean() / self.unit


class CheckpointError(ArgumentError):
    """A checkpoint is damaged, belongs elsewhere or contradicts itself; ``name`` says where."""


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write ``state`` to ``path`` atomically."""
    # an open file, since torch writes a path's own name into what it saves
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def load(path: str | Path) -> dict[str, Any]:
    """Return the state in ``path`` (tensors and plain data only, nothing is unpickled to code)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        allowed = f"a whole file; this one cannot be read: {error}"
        raise CheckpointError("checkpoint", str(path), allowed) from error


def random_state(shuffle: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Return the states of the generators that training on ``device`` draws from.

    Of GPUs only the one in use is asked: asking begins to use it.
    """
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "shuffle": shuffle.get_state()}


def set_random_state(state: dict[str, Any], shuffle: torch.Generator, device: torch.device) -> None:
    """Put the generators back where `random_state` saw them, on any number of GPUs."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"][0], device)
    shuffle.set_state(state["shuffle"])


class Run:
    """Net, optimiser, generators, best weights and history of one call of ``fit``."""

    def __init__(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, device: torch.device
    ):
        self.net, self.optimizer, self.plan, self.device = net, optimizer, plan, device
        self.shuffle = torch.Generator().manual_seed(plan.seed)
        half = device.type == "cuda" and plan.amp
        self.dtype = (
            torch.bfloat16 if half and torch.cuda.is_bf16_supported(False) else torch.float16
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=half and self.dtype == torch.float16)
        self.half = half
        self.history = History(device=str(device), precision=self._precision())
        self.best: dict[str, Tensor] = {}

    def _precision(self) -> str:
        """Return the name of the type in which forward passes multiply."""
        return str(self.dtype).removeprefix("torch.") if self.half else "float32"

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context of the forward pass: autocast on CUDA, nothing elsewhere."""
        return torch.autocast("cuda", dtype=self.dtype) if self.half else nullcontext()

    def identity(self) -> dict[str, Any]:
        """Return what must agree between a checkpoint and the run that resumes it."""
        shapes = {name: list(value.shape) for name, value in self.net.state_dict().items()}
        plan = asdict(self.plan)
        plan.pop("num_epochs")  # a run may be made longer
        return {"plan": plan, "shapes": shapes}

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on from here."""
        return {
            "identity": self.identity(),
            "net": self.net.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(self.shuffle, self.device),
            "history": asdict(self.history),
        }

    def resume(self, path: Path) -> None:
        """Take over the state in ``path``; `CheckpointError` if it is damaged or another run's."""
        try:
            self._take(path, load(path))
        except CheckpointError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            allowed = f"what fit writes; this one cannot be taken over: {error!r}"
            raise CheckpointError("checkpoint", str(path), allowed) from error

    def _take(self, path: Path, state: dict[str, Any]) -> None:
        """Check first what has a check of its own, so that a net is not half another's."""
        mine, theirs = self.identity(), state.get("identity", {})
        for part in ("plan", "shapes"):
            other = theirs.get(part, {})
            wrong = [k for k in {**mine[part], **other} if mine[part].get(k) != other.get(k)]
            if wrong:
                allowed = f"one of this run: {part} differs in {wrong[0]}"
                raise CheckpointError("checkpoint", str(path), allowed)
        self.history = _sound(History(**state["history"]))
        self.net.load_state_dict(state["best"])  # refused here if it does not fit
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best = {name: value.to(self.device) for name, value in state["best"].items()}
        # The epochs to come are made here, whatever made those before.
        self.history.device, self.history.precision = str(self.device), self._precision()
        set_random_state(state["random"], self.shuffle, self.device)


# ---- `fit`: one loop for every net of the book.
#
# Early stopping on validation with the best weights restored, mixed precision on CUDA, clipped
# gradients, a progress bar (off under ``TQDM_DISABLE=1``), and checkpoints from which a run that
# was cut short goes on. On a CPU it goes on exactly as if it had not been cut. On CUDA no two runs
# agree bit by bit, cut or not, unless ``seed_everything(seed, deterministic=True)`` asked for it.


Loss = Callable[[Any, Any], Tensor]


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is not a number."""


def _train_epoch(run: Run, data: Any, loss: Loss, bar: tqdm) -> float:
    """Train on one pass over ``data``; return its mean loss."""
    run.net.train()
    total, count = torch.zeros((), device=run.device), 0
    for x, y in batches(data, run.plan.batch_size, run.device, run.shuffle):
        run.optimizer.zero_grad(set_to_none=True)
        with run.precision():
            value = loss(run.net(x), y)
        run.scaler.scale(value).backward()
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.net.parameters(), run.plan.clip)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        size = _length(y)
        total, count = total + value.detach() * size, count + size
        bar.update()
    return float(total) / count


@torch.no_grad()
def _evaluate(run: Run, data: Any, loss: Loss) -> float:
    """Return the mean loss over ``data`` without training on it."""
    run.net.eval()
    total, count = torch.zeros((), device=run.device), 0
    for x, y in batches(data, run.plan.batch_size, run.device):
        with run.precision():
            value = loss(run.net(x), y)
        size = _length(y)
        total, count = total + value * size, count + size
    return float(total) / count


def _length(y: Any) -> int:
    """Return the number of examples in a batch of targets: a tensor, or a tuple or dict of them."""
    while not isinstance(y, Tensor):
        y = next(iter(y.values() if isinstance(y, dict) else y))
    return len(y)


def _judge(run: Run, epoch: int, train_loss: float, val_loss: float | None) -> None:
    """Record an epoch, keep the weights if they are the best so far, and see whether to stop."""
    history = run.history
    watched = train_loss if val_loss is None else val_loss
    if not math.isfinite(train_loss + watched):
        raise TrainingError(f"epoch {epoch}: the loss is {watched}; lower lr or look at the inputs")
    history.train_loss.append(train_loss)
    if val_loss is not None:
        history.val_loss.append(val_loss)
    if val_loss is None or val_loss <= min(history.val_loss):
        history.best_epoch, run.best = epoch, deepcopy(run.net.state_dict())
    history.stopped_early = epoch - history.best_epoch >= run.plan.patience


def fit(
    net: nn.Module,
    train: Any,
    val: Any = None,
    *,
    plan: Plan | None = None,
    loss: Loss = F.cross_entropy,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    device: str | torch.device | None = None,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    progress: bool = True,
    **changes: Any,
) -> History:
    """Train ``net`` in place; leave it on ``device`` with the best weights, in eval mode.

    Args:
        net: any module; ``loss(net(x), y)`` must be a scalar.
        train: `Examples` (shuffled by ``plan.seed``), or batches ``(x, y)`` as of a DataLoader.
        val: the same, for early stopping; None trains all epochs and keeps the last weights.
        plan: a `Plan`; its fields may also be given one by one, e.g. ``lr=1e-3``.
        loss: of outputs and targets, averaged over the batch; default cross-entropy. For class
            weights: ``nn.CrossEntropyLoss(weight=class_weights(y))``.
        optimizer: from parameters to an optimiser; default AdamW with the plan's lr and decay.
        device: default what `training.device` gives: a CUDA GPU if there is one, else the CPU.
        checkpoint: file written atomically after each epoch; if it exists the run goes on from it.
        on_epoch: called as ``on_epoch(epoch, net)`` after each epoch, e.g. to watch the gates.
        progress: False shows no bar, for studies that have their own.

    Returns:
        The `History`.

    Raises:
        ArgumentError: a setting or an empty data set cannot be used, or no folder can hold the
            checkpoint.
        TrainingError: the loss became NaN or infinite.
        CheckpointError: the checkpoint is damaged or of another run.
    """
    plan = replace(plan or Plan(), **changes)
    where = device if isinstance(device, torch.device) else pick_device(device)
    for name, data in (("train", train), ("val", val)):
        if data is not None or name == "train":
            check_source(name, data)
            if not hasattr(data, "__len__"):  # an iterator is empty after the first epoch
                raise ArgumentError(name, data, "batches with a length, to be gone through again")
    instance("net", net, nn.Module, "a torch module")
    flag("progress", progress)
    if checkpoint is not None:
        place = instance("checkpoint", checkpoint, str | Path, "text or a Path")  # type: ignore[arg-type]
        if not Path(place).parent.is_dir():
            raise ArgumentError("checkpoint", str(place), "a file in a folder that exists")
    if isinstance(loss, nn.Module):
        loss.to(where)  # class weights live where the net does
    net.to(where)
    make = optimizer or (lambda p: torch.optim.AdamW(p, lr=plan.lr, weight_decay=plan.weight_decay))
    run = Run(net, make(net.parameters()), plan, where)
    if checkpoint is not None and Path(checkpoint).exists():
        run.resume(Path(checkpoint))
    steps = count_batches(train, plan.batch_size)
    quiet: dict[str, Any] = {} if progress else {"disable": True}  # else the environment decides
    with tqdm(total=steps * plan.num_epochs, unit="batch", leave=False, **quiet) as bar:
        bar.update(steps * len(run.history.train_loss))
        _loop(run, train, val, loss, bar, checkpoint, on_epoch)
    net.load_state_dict(run.best)
    net.eval()
    return run.history


def _loop(
    run: Run,
    train: Any,
    val: Any,
    loss: Loss,
    bar: tqdm,
    path: str | Path | None,
    on_epoch: Callable[[int, nn.Module], None] | None,
) -> None:
    """Train epoch by epoch until the plan or patience ends, with a checkpoint each."""
    for epoch in range(len(run.history.train_loss) + 1, run.plan.num_epochs + 1):
        if run.history.stopped_early:
            break
        start = time.perf_counter()
        train_loss = _train_epoch(run, train, loss, bar)
        val_loss = None if val is None else _evaluate(run, val, loss)
        _judge(run, epoch, train_loss, val_loss)
        run.history.seconds.append(time.perf_counter() - start)
        shown = train_loss if val_loss is None else val_loss
        bar.set_postfix(epoch=epoch, loss=f"{shown:.4f}", best=run.history.best_epoch)
        if path is not None:
            save(path, run.state())
        if on_epoch is not None:
            on_epoch(epoch, run.net)


@torch.no_grad()
def predict(
    net: nn.Module, data: Any, *, batch_size: int = 1024, device: str | torch.device | None = None
) -> Tensor:
    """Return the net's outputs for all of ``data``, in order, on the CPU; the net in eval mode.

    Args:
        net: any module whose output is one tensor with the batch first.
        data: `Examples`, or an iterable of ``(x, y)`` batches.
        batch_size: examples a step.
        device: default where the net's parameters are.

    Returns:
        A float32 tensor (n, ...).
    """
    integer("batch_size", batch_size, 1)
    check_source("data", data)
    instance("net", net, nn.Module, "a torch module")
    if device is None:
        where = next((p.device for p in net.parameters()), torch.device("cpu"))
    else:
        where = device if isinstance(device, torch.device) else pick_device(device)
    net.to(where).eval()
    outputs = [net(x).float().cpu() for x, _ in batches(data, batch_size, where)]
    if not outputs:
        raise ArgumentError("data", data, "at least one example")
    return torch.cat(outputs)
