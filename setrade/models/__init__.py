"""The nets of the book, one file each."""

from setrade.models.se_trader import SETrader, TemporalRegimes
from setrade.models.se_transformer import SETransformer
from setrade.models.timeframes import TimeframeEnsemble

__all__ = ["SETrader", "SETransformer", "TemporalRegimes", "TimeframeEnsemble"]
