"""The steps and minima of an instrument, kept in decimals from end to end.

A float says 0.1 + 0.2 = 0.30000000000000004, and prints 0.00001 as "1e-05", which pybit sends
as it is. So prices and quantities are `Decimal` here and leave as plain decimal text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from decimal import InvalidOperation as NoNumber
from typing import Any

import numpy as np

from setrade.errors import ArgumentError

MODES = {
    "down": ROUND_FLOOR,
    "up": ROUND_CEILING,
    "nearest": ROUND_HALF_EVEN,
}
POSITIVE = "a finite number > 0 (Decimal, int, float or decimal text)"


class OrderRuleError(ArgumentError):
    """An order breaks a rule of its instrument; it has not been sent."""


def decimal(name: str, value: Any) -> Decimal:
    """Return ``value`` as an exact Decimal above zero; a float counts as what it prints.

    Raises:
        ArgumentError: not a number, NaN, infinite, zero or negative.
    """
    if isinstance(value, bool) or not isinstance(
        value, Decimal | str | int | float | np.integer | np.floating
    ):
        raise ArgumentError(name, value, POSITIVE)
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except NoNumber as error:
        raise ArgumentError(name, value, POSITIVE) from error
    if not number.is_finite() or number <= 0:
        raise ArgumentError(name, value, POSITIVE)
    return number


def text(value: Decimal) -> str:
    """Return a Decimal as plain text: no exponent, no zeros at the end."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


@dataclass(frozen=True)
class Instrument:
    """What orders in one symbol must keep to.

    Args:
        symbol: such as ``"BTCUSDT"``.
        tick_size: prices are multiples of it.
        qty_step: quantities (base coin) are multiples of it.
        min_qty: smallest quantity.
        min_notional: smallest value, in quote coin; 0 for none.
        max_qty: largest quantity; None where unknown.
    """

    symbol: str
    tick_size: Decimal
    qty_step: Decimal
    min_qty: Decimal
    min_notional: Decimal = Decimal(0)
    max_qty: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("tick_size", "qty_step", "min_qty"):
            object.__setattr__(self, name, decimal(name, getattr(self, name)))
        if self.max_qty is not None:
            object.__setattr__(self, "max_qty", decimal("max_qty", self.max_qty))
        value = Decimal(str(self.min_notional))
        object.__setattr__(self, "min_notional", decimal("min_notional", value) if value else value)

    @classmethod
    def from_listing(cls, entry: Mapping[str, Any]) -> Instrument:
        """Return the rules from an entry of ``instruments-info``, or of `Rest.instruments`.

        Raises:
            ArgumentError: the entry lacks a step or a minimum.
        """
        lots = entry.get("lotSizeFilter", {})
        try:
            return cls(
                str(entry["symbol"]),
                tick_size=entry.get("tick_size") or entry["priceFilter"]["tickSize"],
                qty_step=entry.get("qty_step") or lots.get("qtyStep") or lots["basePrecision"],
                min_qty=entry.get("min_qty") or lots["minOrderQty"],
                min_notional=Decimal(
                    entry.get("min_notional")
                    or lots.get("minNotionalValue")
                    or lots.get("minOrderAmt", "0")
                ),
                max_qty=lots.get("maxMktOrderQty") or lots.get("maxOrderQty"),
            )
        except (KeyError, TypeError) as error:
            raise ArgumentError("entry", entry, "tick, step and minimum of a symbol") from error

    def price(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a price that the exchange takes.

        Args:
            value: a number above zero.
            rounding: ``"down"``, ``"up"`` or ``"nearest"`` to move it onto a tick; None: a
                price off the tick is an error.

        Raises:
            OrderRuleError: off the tick, or rounded away to nothing.
        """
        return self._step("price", decimal("price", value), self.tick_size, rounding)

    def quantity(self, value: Any, *, rounding: str | None = None) -> Decimal:
        """Return a quantity that the exchange takes; ``rounding`` as in `price`.

        Raises:
            OrderRuleError: off the step, below the minimum, above the maximum.
        """
        qty = self._step("qty", decimal("qty", value), self.qty_step, rounding)
        if qty < self.min_qty:
            raise OrderRuleError("qty", text(qty), f"at least {text(self.min_qty)} {self.symbol}")
        if self.max_qty is not None and qty > self.max_qty:
            raise OrderRuleError("qty", text(qty), f"at most {text(self.max_qty)} {self.symbol}")
        return qty

    def value(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return quantity times price; raise `OrderRuleError` below the smallest value."""
        value = qty * price
        if value < self.min_notional:
            allowed = f"an order worth at least {text(self.min_notional)}"
            raise OrderRuleError("qty", f"{text(qty)} at {text(price)}", allowed)
        return value

    def floor(self, value: float) -> Decimal:
        """Return a quantity cut down to the step, 0 where less than the minimum is left."""
        qty = Decimal(repr(float(value))).quantize(Decimal("1e-12"), ROUND_DOWN)
        qty = (qty / self.qty_step).to_integral_value(ROUND_DOWN) * self.qty_step
        return qty if qty >= self.min_qty else Decimal(0)

    def _step(self, name: str, value: Decimal, step: Decimal, rounding: str | None) -> Decimal:
        if rounding is not None and rounding not in MODES:
            raise ArgumentError("rounding", rounding, "None, 'down', 'up' or 'nearest'")
        steps = value / step
        if steps != steps.to_integral_value():
            if rounding is None:
                allowed = f"a multiple of {text(step)} ({self.symbol}), or rounding="
                raise OrderRuleError(name, text(value), allowed)
            steps = steps.to_integral_value(MODES[rounding])
        if steps == 0:
            raise OrderRuleError(name, text(value), f"at least {text(step)} ({self.symbol})")
        return steps * step
