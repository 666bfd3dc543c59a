"""From the position that is wanted to the orders that lead there, as the backtest does it."""

from __future__ import annotations

from setrade.costs import Rates, affordable, fee, fill_price
from setrade.errors import number

DUST = 1e-12  # of equity: a smaller change is rounding, not an order


def legs(fraction: float, equity: float, units: float, price: float, rates: Rates) -> list[float]:
    """Return signed quantities to trade, in order, to hold ``fraction`` of equity.

    A change of sign closes first and opens with what the close leaves; what is bought is sized
    after its fee; the same rules as `backtest.run`, to the last digit but rounding.

    Args:
        fraction: position wanted, signed, as a fraction of equity.
        equity: worth of the account at ``price``.
        units: signed size held.
        price: what the orders are expected to fill at, before slippage.
        rates: from `Costs.rates`.

    Returns:
        None, one or two quantities, without rounding to the exchange's steps.

    Raises:
        ArgumentError: not finite, or a price not above zero.
    """
    want = number("fraction", fraction, -100.0, 100.0)
    worth, held = number("equity", equity), number("units", units)
    number("price", price, 0.0, above=True)
    orders: list[float] = []
    if held != 0 and want * held <= 0:
        filled = fill_price(price, -held, rates.slippage)
        worth += held * (filled - price) - fee(filled, held, rates.fee)
        orders, held = [-held], 0.0
    if want == 0 or worth <= 0:  # with nothing left nothing is opened
        return orders
    change, side = abs(want) * worth - abs(held) * price, 1.0 if want > 0 else -1.0
    if change > DUST * worth:
        filled = fill_price(price, side, rates.slippage)
        return [*orders, side * affordable(change, filled, rates.fee)]
    return [*orders, side * change / price] if change < -DUST * worth else orders
