"""API keys: read from the environment, used to sign, shown to nobody.

The secrets live in a closure. What has to be handed to pybit and requests (the key, in a
header) is a string that prints as ``***``. Neither can be pickled.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

HIDDEN = "***"


class KeysError(RuntimeError):
    """The environment has no usable keys; names the variables, never their values."""


class Secret(str):
    """Text that travels as it is and prints as ``***``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("keys are not pickled or copied")


class Keys:
    """A key pair that can sign; made by `from_environment`.

    ``headers`` is what pybit calls to prepare a private request; ``clean`` takes the keys out
    of a text (an exchange may echo them).
    """

    __slots__ = ("clean", "headers", "venue")

    def __init__(self, venue: str, key: str, secret: str) -> None:
        self.venue = venue
        self.headers: Callable[..., dict[str, str]] = _signer(key, secret)
        self.clean: Callable[[str], str] = _cleaner(key, secret)

    @classmethod
    def from_environment(cls, venue: str) -> Keys:
        """Return the keys in ``BYBIT_<VENUE>_API_KEY`` and ``BYBIT_<VENUE>_API_SECRET``.

        Raises:
            KeysError: one is missing, or is not the plain word that a key is.
        """
        names = [f"BYBIT_{venue.upper()}_API_{part}" for part in ("KEY", "SECRET")]
        missing = [name for name in names if not _usable(os.environ.get(name, ""))]
        if missing:
            raise KeysError(f"set {' and '.join(missing)} in the environment to a key of {venue}")
        return cls(venue, *(os.environ[name] for name in names))

    def __repr__(self) -> str:
        return f"Keys({self.venue})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("keys are not pickled or copied")


def _usable(text: str) -> bool:
    """Tell whether a text can be a key: one printable ASCII word."""
    return len(text) >= 8 and text.isascii() and text.isprintable() and " " not in text


def _signer(key: str, secret: str) -> Callable[..., dict[str, str]]:
    """Return pybit's ``_prepare_headers`` for one key pair.

    https://bybit-exchange.github.io/docs/v5/guide#authentication
    """

    def headers(
        payload: str, recv_window: int, content_type: str = "application/json"
    ) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        signed = f"{stamp}{key}{recv_window}{payload}".encode()
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": Secret(key),
            "X-BAPI-SIGN": Secret(hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }

    return headers


def _cleaner(key: str, secret: str) -> Callable[[str], str]:
    def clean(text: str) -> str:
        return text.replace(secret, HIDDEN).replace(key, HIDDEN)

    return clean
