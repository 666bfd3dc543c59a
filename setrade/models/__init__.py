"""The nets of the book, one file each."""

from setrade.models.se_trader import SETrader

__all__ = ["SETrader"]
