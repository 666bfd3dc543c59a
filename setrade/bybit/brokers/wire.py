"""Private calls: reads are tried again, what changes something is sent once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError

from setrade.errors import ArgumentError

from ..errors import AccessError, ExchangeError
from ..retry import Retry, is_passing, reset_wait
from ..session import FORBIDDEN, Session
from .keys import Keys

TOO_MANY = (10006, 429)  # refused before it was looked at: it has not been done
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Answer:
    """What became of a request that changes something.

    ``state``: ``"done"``; ``"refused"`` (it was not done, and will not be); ``"wait"`` (not
    done: too many requests); ``"unknown"`` (the answer is lost: it may have been done).
    """

    state: str
    code: int = 0
    message: str = ""
    wait: float = 0.0
    order_id: str = ""


class Wire(Session):
    """A session that signs; its keys are in no attribute, and in no message it raises."""

    def __init__(
        self, keys: Keys, base_url: str | None, timeout: float, retry: Retry | None
    ) -> None:
        venue = keys.venue
        super().__init__(
            base_url, venue == "testnet", demo=venue == "demo", timeout=timeout, retry=retry
        )
        self.http._prepare_headers = keys.headers
        self._clean = keys.clean

    def __repr__(self) -> str:
        return f"Wire({self.endpoint})" if hasattr(self, "http") else "Wire()"

    def _typed(self, method: str, error: Exception) -> ExchangeError:
        typed = super()._typed(method, error)
        typed.message = self._clean(typed.message)
        typed.args = (self._clean(str(typed)),)
        return typed

    def send(self, method: str, **fields: Any) -> Answer:
        """Call one of pybit's POST methods once.

        Raises:
            AccessError: HTTP 403.
        """
        try:
            result = getattr(self.http, method)(**fields)["result"]
            return Answer("done", order_id=str(result["orderId"]))
        except Exception as error:  # whatever it is, the request may have arrived
            answer = self._judge(error)
        if answer.code == 403:
            raise AccessError(method, 403, FORBIDDEN)
        return answer

    def _judge(self, error: Exception) -> Answer:
        """Say what an error tells about the request."""
        code = int(getattr(error, "status_code", 0) or 0)
        text = self._clean(str(getattr(error, "message", "") or type(error).__name__))
        if code in TOO_MANY:
            wait = max(self.retry.first, reset_wait(error, time.time()))
            return Answer("wait", code, text, min(wait, self.retry.longest))
        told = isinstance(error, FailedRequestError | InvalidRequestError)
        if told and not is_passing(error):
            return Answer("refused", code, text)
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return Answer("refused", code, text)
        return Answer("unknown", code, text)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a signing session is not pickled or copied")


def loopback(base_url: str | None) -> str | None:
    """Return an address on this machine, or None; keys are sent nowhere else but to Bybit."""
    if base_url is None:
        return None
    host = urlsplit(base_url).hostname if isinstance(base_url, str) else None
    if host not in LOOPBACK:
        raise ArgumentError("base_url", base_url, "None, or an address on this machine")
    return base_url
