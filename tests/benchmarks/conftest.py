"""The fixture `race` for every benchmark; see `racing`."""

from __future__ import annotations

from racing import pytest_sessionfinish, race

__all__ = ["pytest_sessionfinish", "race"]
