"""What is wanted of an exchange, in its own steps, before anything is sent."""

from __future__ import annotations

from .instrument import Instrument, OrderRuleError, decimal, text
from .intent import Intent
from .sizing import legs

__all__ = ["Instrument", "Intent", "OrderRuleError", "decimal", "legs", "text"]
