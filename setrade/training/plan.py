"""What decides a training run, and the record of what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from setrade.errors import integer, number


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
