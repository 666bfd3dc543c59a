"""What a net is asked to predict, and which bars it may learn it from."""

from setrade.labels.barriers import triple_barrier
from setrade.labels.splits import Split, bars_used, chronological, last_bars, walk_forward
from setrade.labels.targets import (
    BUY,
    HOLD,
    SELL,
    break_even,
    class_shares,
    forward_return,
    sell_hold_buy,
)

__all__ = [
    "BUY",
    "HOLD",
    "SELL",
    "Split",
    "bars_used",
    "break_even",
    "chronological",
    "class_shares",
    "forward_return",
    "last_bars",
    "sell_hold_buy",
    "triple_barrier",
    "walk_forward",
]
