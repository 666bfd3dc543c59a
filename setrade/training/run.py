"""The state of a training run: everything that a checkpoint has to hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from setrade.training import checkpoint as store
from setrade.training.plan import History, Plan


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
            "random": store.random_state(self.shuffle, self.device),
            "history": asdict(self.history),
        }

    def resume(self, path: Path) -> None:
        """Take over the state in ``path``; raise `CheckpointError` if it is another run's."""
        state = store.load(path)
        mine, theirs = self.identity(), state.get("identity", {})
        for part in ("plan", "shapes"):
            other = theirs.get(part, {})
            wrong = [k for k in {**mine[part], **other} if mine[part].get(k) != other.get(k)]
            if wrong:
                raise store.CheckpointError(
                    f"checkpoint {path} is of another run: {part} differs in {wrong[0]}"
                )
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best = {name: value.to(self.device) for name, value in state["best"].items()}
        self.history = History(**state["history"])
        # The epochs to come are made here, whatever made those before.
        self.history.device, self.history.precision = str(self.device), self._precision()
        store.set_random_state(state["random"], self.shuffle, self.device)
