"""One connection of pybit's WebSocket, used as a pipe: it opens, delivers, dies; no more.

pybit reconnects from inside its own callbacks, where a refused try ends the stream for good,
and it keeps a book that trusts what it is sent. So its callback is replaced by ours, which
sees every raw message, and its reconnection is switched off: whoever holds the connection
sees that it died and builds another.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import websocket
from pybit.unified_trading import WebSocket

# Without a handler of its own Python prints a library's warnings to stderr.
logging.getLogger("pybit").addHandler(logging.NullHandler())


class DeadError(ConnectionError):
    """The connection could not be opened, or is gone."""


class Connection(WebSocket):
    """A connection at an address of our choice, which opens within a deadline or not at all.

    Args:
        url: ``ws://`` or ``wss://`` with host and path; None: the exchange's own.
        category: linear, inverse, spot or option.
        raw: called in the socket's thread with each decoded message.
        died: called, once or more, when the connection ended or met an error.
        testnet: use the testnet's host.
        cancelled: asked while it opens; True gives up.
        timeout: seconds for the connection to open.

    Raises:
        DeadError: it did not open.
    """

    def __init__(
        self,
        url: str | None,
        category: str,
        raw: Callable[[Any], None],
        died: Callable[[], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        testnet: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self._url, self._died, self._cancelled = url, died, cancelled
        self._deadline = time.monotonic() + timeout
        self.error: BaseException | None = None
        self.attempting_connection, self.opened = False, time.monotonic()
        super().__init__(
            category, testnet=testnet, callback_function=raw, restart_on_error=False, retries=2
        )
        self.opened = time.monotonic()

    def _connect(self, url: str) -> None:
        try:
            super()._connect(self._url or url)
        except (OSError, websocket.WebSocketException) as error:
            self.shut()
            raise DeadError(f"{type(self.error or error).__name__}") from (self.error or error)

    def is_connected(self) -> bool:
        """Tell whether the socket is open; end pybit's waiting when it never will be."""
        connected = bool(super().is_connected())
        if self.attempting_connection and not connected and hasattr(self, "wst"):
            if self.error is not None or not self.wst.is_alive():
                raise DeadError("refused")
            if time.monotonic() > self._deadline or self._cancelled():
                raise DeadError("did not open in time")
        return connected

    @property
    def is_alive(self) -> bool:
        """True while messages can still come."""
        return self.error is None and self.wst.is_alive() and self.is_connected()

    @property
    def age(self) -> float:
        """Seconds since the connection opened."""
        return time.monotonic() - self.opened

    def request(self, op: str, topics: list[str]) -> str:
        """Send a subscribe or unsubscribe request; return its id, which the answer repeats."""
        req_id = str(uuid4())
        try:
            self.ws.send(json.dumps({"op": op, "req_id": req_id, "args": topics}))
        except (OSError, websocket.WebSocketException) as error:
            raise DeadError(f"{op}: {type(error).__name__}") from error
        return req_id

    def _on_error(self, error: BaseException) -> None:
        """Remember what ended the connection (pybit would raise it in the socket's thread)."""
        self.error, self.exited = error, True
        self._died()

    def _on_close(self) -> None:
        self._died()

    def shut(self, timeout: float = 2.0) -> None:
        """Close at once, without waiting for the other side; join the socket's thread."""
        self.exited = True
        self._stop_custom_ping_timer()
        app, thread = getattr(self, "ws", None), getattr(self, "wst", None)
        if app is None:
            return
        app.keep_running, pipe = False, app.sock
        with contextlib.suppress(OSError, AttributeError, websocket.WebSocketException):
            pipe.send_close()  # polite where the other side still listens
        with contextlib.suppress(OSError, AttributeError):
            pipe.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        if thread is not None:
            thread.join(timeout)
