"""`fit`: one loop for every net of the book.

Early stopping on validation with the best weights restored, mixed precision on CUDA, clipped
gradients, a progress bar (off under ``TQDM_DISABLE=1``), and checkpoints from which a run that
was cut short goes on. On a CPU it goes on exactly as if it had not been cut. On CUDA no two runs
agree bit by bit, cut or not, unless ``seed_everything(seed, deterministic=True)`` asked for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from setrade.errors import ArgumentError, integer
from setrade.training import checkpoint as store
from setrade.training.data import batches, count_batches
from setrade.training.devices import device as pick_device
from setrade.training.plan import History, Plan
from setrade.training.run import Run

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
        ArgumentError: a setting or an empty data set cannot be used.
        TrainingError: the loss became NaN or infinite.
        CheckpointError: the checkpoint is damaged or of another run.
    """
    plan = replace(plan or Plan(), **changes)
    where = device if isinstance(device, torch.device) else pick_device(device)
    for name, data in (("train", train), ("val", val)):
        if data is not None and hasattr(data, "__len__") and not len(data):
            raise ArgumentError(name, data, "at least one example")
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
            store.save(path, run.state())
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
    if device is None:
        where = next((p.device for p in net.parameters()), torch.device("cpu"))
    else:
        where = device if isinstance(device, torch.device) else pick_device(device)
    net.to(where).eval()
    outputs = [net(x).float().cpu() for x, _ in batches(data, batch_size, where)]
    if not outputs:
        raise ArgumentError("data", data, "at least one example")
    return torch.cat(outputs)
