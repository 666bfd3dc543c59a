"""An order that somebody has decided on, and the name by which it can never exist twice."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from setrade.errors import ArgumentError, choice, integer

from .. import codes
from .instrument import decimal, text

SIDES = ("buy", "sell")
STRATEGY = re.compile(r"[A-Za-z0-9_]{1,8}")


@dataclass(frozen=True)
class Intent:
    """One order, before it is sent.

    Args:
        symbol: such as ``"BTCUSDT"``.
        side: ``"buy"`` or ``"sell"``.
        qty: quantity in base coin, above zero.
        decided: when the decision was made (UTC): the close of the bar that it rests on.
        price: limit price; None for a market order.
        reduce_only: never open or turn a position.
        strategy: up to eight letters, digits or underscores.
        leg: which order of the same decision; 0 for the first.

    ``link_id`` names the decision, not its figures: a strategy that restarts and decides anew
    on the same bar comes to the same name, and the exchange takes a name once.

    Raises:
        ArgumentError: names the argument.
    """

    symbol: str
    side: str
    qty: Decimal
    decided: pd.Timestamp
    price: Decimal | None = None
    reduce_only: bool = False
    strategy: str = "setrade"
    leg: int = 0

    def __post_init__(self) -> None:
        codes.symbol(self.symbol)
        choice("side", self.side, SIDES)
        object.__setattr__(self, "qty", decimal("qty", self.qty))
        if self.price is not None:
            object.__setattr__(self, "price", decimal("price", self.price))
        ns = codes.moment("decided", self.decided)
        object.__setattr__(self, "decided", pd.Timestamp(ns, tz="UTC"))
        if not isinstance(self.reduce_only, bool):
            raise ArgumentError("reduce_only", self.reduce_only, "True or False")
        if not isinstance(self.strategy, str) or not STRATEGY.fullmatch(self.strategy):
            raise ArgumentError("strategy", self.strategy, "1 to 8 letters, digits, underscores")
        integer("leg", self.leg, 0, 99)

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self.side == "buy" else -1

    @property
    def link_id(self) -> str:
        """The order's own name, at most 36 characters, the same whenever it is asked for."""
        words = f"{self.strategy}|{self.symbol}|{self.decided.value}|{self.leg}"
        digest = hashlib.sha256(words.encode()).hexdigest()
        return f"{self.strategy}-{digest[:27]}"

    def record(self) -> dict[str, Any]:
        """Return the intent as plain text and numbers, for a journal."""
        price = None if self.price is None else text(self.price)
        plain = {"qty": text(self.qty), "price": price, "decided": self.decided.isoformat()}
        return asdict(self) | plain

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Intent:
        """Return the intent that `record` wrote."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})
