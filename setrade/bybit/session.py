"""pybit's HTTP client under one retry policy. Market data needs no key, so it has none."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from setrade.errors import ArgumentError, number

from .errors import AccessError, ExchangeError, UnreachableError
from .retry import MalformedAnswerError, Retry, is_passing

FORBIDDEN = (
    "HTTP 403, not tried again: this address sent more than 600 requests in 5 s (then stop "
    "for 10 minutes), or is in a region that the exchange does not serve"
)
WRONG_PARAMETER = 10001
FAILURES = (
    FailedRequestError, InvalidRequestError, MalformedAnswerError,
    requests.exceptions.RequestException,
)  # fmt: skip


class _Http(HTTP):
    """pybit's client; as a dataclass it would print all its fields, keys among them."""

    __repr__ = object.__repr__


class Session:
    """GET requests to one host, each tried until it succeeds or cannot.

    Orders do not belong here: an order that may have arrived is looked up, never sent again.

    Args:
        base_url: such as ``"http://127.0.0.1:8080"``; None: the exchange's own host.
        testnet, demo: which of the exchange's hosts.
        timeout: seconds without an answer before a try counts as failed.
        retry: the policy; None: `Retry` as it stands.
    """

    def __init__(
        self,
        base_url: str | None = None,
        testnet: bool = False,
        *,
        demo: bool = False,
        timeout: float = 10.0,
        retry: Retry | None = None,
    ) -> None:
        timeout = number("timeout", timeout, 0, above=True)
        for name, value in (("testnet", testnet), ("demo", demo)):
            if not isinstance(value, bool):
                raise ArgumentError(name, value, "True or False")
        self.retry = Retry() if retry is None else retry
        log = logging.getLogger("pybit._http_manager")
        handlers = list(log.handlers)
        self.http: Any = _Http(testnet=testnet, demo=demo)
        log.handlers[:] = handlers  # pybit adds one more at every construction
        # The empty set must be assigned: given to the constructor it means pybit's defaults.
        self.http.retry_codes, self.http.max_retries, self.http.timeout = set(), 1, timeout
        if base_url is not None:
            self.http.endpoint = _url(base_url)

    @property
    def endpoint(self) -> str:
        """Scheme, host and port."""
        return self.http.endpoint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint!r})"

    def get(self, method: str, **query: Any) -> dict[str, Any]:
        """Call one of pybit's GET methods; return the whole envelope, checked.

        Args:
            method: its name, such as ``"get_kline"``.
            query: its parameters; None means left out.

        Raises:
            AccessError: HTTP 403, after one try.
            UnreachableError: still failing after the last try.
            ExchangeError: any other refusal, after one try.
        """
        asked = {k: v for k, v in query.items() if v is not None}
        try:
            return self.retry.call(lambda: self._once(method, asked))
        except FAILURES as error:
            failure = self._typed(method, error)
        raise failure  # outside the handler: a chained cause would print what the host echoed

    def about(self, symbol: str, method: str, **query: Any) -> dict[str, Any]:
        """Call a GET method about one symbol; as `get`, but say so if the symbol is unknown.

        Raises:
            ArgumentError: the exchange does not list ``symbol``.
        """
        try:
            return self.get(method, symbol=symbol, **query)
        except ExchangeError as error:
            if error.code != WRONG_PARAMETER or "symbol" not in error.message.lower():
                raise
            allowed = f"a symbol that the exchange lists ({error.message})"
            raise ArgumentError("symbol", symbol, allowed) from error

    def _once(self, method: str, query: dict[str, Any]) -> dict[str, Any]:
        """One try: send, and look whether the answer is an envelope with a result."""
        try:
            answer = getattr(self.http, method)(**query)
            whole = answer["retCode"] == 0 and isinstance(answer["result"], dict)
        except (AttributeError, KeyError, TypeError) as error:  # pybit reads it unchecked
            raise MalformedAnswerError("the answer is no envelope") from error
        if not whole:
            raise MalformedAnswerError("the answer has no result")
        return answer

    def _typed(self, method: str, error: Exception) -> ExchangeError:
        """Turn what pybit or requests raised into ours."""
        code = getattr(error, "status_code", 0)
        text = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        if is_passing(error):
            return UnreachableError(method, code, text, self.retry.tries)
        if code == 403 and isinstance(error, FailedRequestError):
            return AccessError(method, code, FORBIDDEN)
        return ExchangeError(method, code, text)


def _url(value: str) -> str:
    """Return a base URL without its trailing slash."""
    allowed = "a URL such as 'https://api.bybit.com'"
    if not isinstance(value, str):
        raise ArgumentError("base_url", value, allowed)
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
        raise ArgumentError("base_url", value, allowed)
    return value.rstrip("/")
