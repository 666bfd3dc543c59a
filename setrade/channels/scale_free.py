"""From raw units to ratios that no change of unit can move."""

from __future__ import annotations

import numpy as np

from . import kernels

LEVELS = (
    "open", "high", "low", "vwap", "bollinger_upper", "bollinger_middle", "bollinger_lower",
    "keltner_upper", "keltner_middle", "keltner_lower", "sma", "ema", "ichimoku_tenkan",
    "ichimoku_kijun", "ichimoku_senkou_a", "ichimoku_senkou_b",
)  # fmt: skip
DIFFERENCES = ("macd", "macd_signal", "macd_hist", "momentum")
PERCENTS = ("roc", "rsi", "adx", "plus_di", "minus_di")
CENTRED = ("rsi", "bollinger_percent_b")
LONG_BLOCKS = 5  # the long mean of volume spans this many short ones


def to_scale_free(close: np.ndarray, out: dict[str, np.ndarray], volume_period: int) -> None:
    """Turn filled columns of raw channels into ratios, in place.

    Args:
        close: raw closes, shape ``(n,)``; must not share memory with ``out``.
        out: raw channels by name, each of shape ``(n,)``; ``obv``, ``spread`` and
            ``imbalance`` are ratios already.
        volume_period: bars in ``out["volume_ma"]``.
    """
    for name in LEVELS:
        kernels.level_to_ratio(out[name], close)
    for name in DIFFERENCES:
        kernels.difference_to_atr(out[name], out["atr"], close)
    out["close"][1:] = close[1:] / close[:-1] - 1.0
    out["close"][0] = np.nan  # no bar before it
    out["atr"] /= close
    for name in PERCENTS:
        out[name] /= 100.0
    for name in CENTRED:
        out[name] -= 0.5
    kernels.volume_ratios(out["volume"], out["volume_ma"], volume_period, LONG_BLOCKS)
