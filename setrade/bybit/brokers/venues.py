"""The brokers that play with nobody's money."""

from __future__ import annotations

from typing import Any

from .exchange import ExchangeBroker


class TestnetBroker(ExchangeBroker):
    """Orders on Bybit's testnet: real rules, play money, thin books."""

    __test__ = False  # not a test, whatever pytest makes of the name

    def __init__(self, **settings: Any) -> None:
        super().__init__("testnet", **settings)


class DemoBroker(ExchangeBroker):
    """Orders on a demo account: play money at the main market's prices."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("demo", **settings)
