"""The limit order book: kept up to date, drawn as a picture, measured."""

from .snapshots import BookError, Snapshots

__all__ = ["BookError", "Snapshots"]
