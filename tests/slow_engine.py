"""A plain Python backtest, written apart from `setrade.backtest`: the tests' second opinion.

It keeps a wallet that really receives what is sold short, and values everything with
``wallet + units · price``; the package keeps realised cash and an entry price instead. It
knows decisions, costs, funding at the open, stops, targets, daily loss and liquidation, and an
exchange's steps of price and size, which it counts in decimal fractions.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


def backtest(
    opens, highs, lows, closes, wanted, *, fee=0.0, slip=0.0, maker=0.0, funding=None,
    stop_atr=math.inf, ratio=math.inf, atr=None, leverage=math.inf, daily_loss=math.inf,
    days=None, rebalance=False, start=1.0, tick=0.0, lot=0.0,
):  # fmt: skip
    """Return the equity at each close and the list of (bar in, bar out, side, reason, profit)."""
    n, wallet, units, curve, trades = len(closes), start, 0.0, [], []
    asked, pending, halted, day_start, trade = 0.0, False, False, start, None

    def stepped(x, step, rounding):
        whole = Decimal(round(float(x) / step, 9)).to_integral_value(rounding)
        return float(whole * Decimal(repr(step)))

    def filled(price, amount, slippage, grid=True):
        price *= 1 + slippage if amount > 0 else 1 - slippage
        against = ROUND_CEILING if amount > 0 else ROUND_FLOOR
        return stepped(price, tick, against) if tick and grid else price

    def sized(amount):
        return math.copysign(stepped(abs(amount), lot, ROUND_FLOOR), amount) if lot else amount

    def deal(amount, price, rate, slippage, grid=True):
        nonlocal wallet, units
        price = filled(price, amount, slippage, grid)
        wallet -= amount * price + abs(amount) * price * rate
        units += amount

    def leave(t, price, reason, rate=fee, slippage=slip):
        nonlocal units, trade
        side = math.copysign(1, units)
        deal(-units, price, rate, slippage, reason != "liquidation")
        units = 0.0
        trades.append((trade["bar"], t, side, reason, wallet - trade["wallet"]))
        trade = None

    def liquidation_at(worth_left):
        """Price at which closing leaves value / leverage (worth_left 1) or nothing (0)."""
        side = math.copysign(1, units)
        share = worth_left / leverage * abs(units)
        kept = (1 - side * slip) * (units - fee * abs(units))
        return -wallet / (kept - share)

    def forced(t, high, low):
        nonlocal pending
        side = math.copysign(1, units)
        ahead = (lambda a, b: a <= b) if side > 0 else (lambda a, b: a >= b)
        nearer, further = (max, min) if side > 0 else (min, max)
        worst, best = (low, high) if side > 0 else (high, low)
        stop, liquidation = trade["stop"], liquidation_at(1)
        if ahead(worst, nearer(stop, liquidation)):
            liquidated = ahead(stop, liquidation) or ahead(opens[t], liquidation)
            price = further(opens[t], nearer(stop, liquidation))
            leave(
                t,
                nearer(price, liquidation_at(0)) if liquidated else price,
                "liquidation" if liquidated else "stop",
            )
        elif ahead(trade["target"], best):
            leave(t, nearer(opens[t], trade["target"]), "target", maker, 0.0)
        else:
            return
        pending = False

    for t in range(n):
        if t and units and funding is not None:
            wallet -= units * opens[t] * funding[t]
        if t and units:
            forced(t, opens[t], opens[t])
        if t and wanted[t - 1] != asked:
            asked, pending = wanted[t - 1], True
        if days is not None and (t == 0 or days[t] != days[t - 1]):
            halted, day_start = False, curve[-1] if t else start
        if halted and units:
            leave(t, opens[t], "daily_loss")
            pending = False
        elif not halted and (pending or (rebalance and units)):
            if units and asked * units <= 0:
                leave(t, opens[t], "signal")
            pending = False
            equity = wallet + units * opens[t]
            missing = abs(asked) * equity - abs(units) * opens[t]
            side = 1.0 if asked > 0 else -1.0
            if missing > 1e-12 * equity:
                if stop_atr < math.inf and math.isnan(atr[t - 1]):
                    pending = True
                elif amount := sized(side * missing / (filled(opens[t], side, slip) * (1 + fee))):
                    if not units:
                        entry = filled(opens[t], side, slip)
                        far = stop_atr * atr[t - 1] if stop_atr < math.inf else math.inf
                        gain = ratio * far if ratio < math.inf else math.inf
                        stop, target = entry - side * far, entry + side * gain
                        trade = {"bar": t, "wallet": wallet, "stop": stop, "target": target}
                    deal(amount, opens[t], fee, slip)
            elif (
                asked and missing < -1e-12 * equity and (amount := sized(side * missing / opens[t]))
            ):
                deal(amount, opens[t], fee, slip)
        if units:
            forced(t, highs[t], lows[t])
        if abs(wallet) < 1e-12 and not units:
            wallet = 0.0
        curve.append(wallet + units * closes[t])
        if daily_loss < math.inf and curve[-1] <= day_start * (1 - daily_loss):
            halted = True
    return curve, trades
