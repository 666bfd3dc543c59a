"""Who signs: the HMAC of private calls and of private streams."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from .clock import Now
from .wire import Refused

AHEAD = 1000  # ms that a client's clock may be ahead


def signature(secret: str, payload: str) -> str:
    """Return the hexadecimal HMAC-SHA256 that clients send."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def check_call(keys: Mapping[str, str], clock: Now, headers: Mapping[str, str], text: str) -> str:
    """Return the key of a signed call; ``text`` is the raw query string, or the raw body.

    Raises:
        Refused: 10003 unknown key, 10002 timestamp outside the window, 10004 wrong signature.
    """
    key, sign = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-SIGN", "")
    stamp, window = headers.get("X-BAPI-TIMESTAMP", ""), headers.get("X-BAPI-RECV-WINDOW", "5000")
    if key not in keys:
        raise Refused(10003, "API key is invalid.")
    now = clock()
    timely = stamp.isdecimal() and window.isdecimal()
    if not timely or not now - int(window) <= int(stamp) < now + AHEAD:
        raise Refused(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{now}],recv_window[{window}]",
        )
    if not hmac.compare_digest(sign, signature(keys[key], f"{stamp}{key}{window}{text}")):
        raise Refused(10004, "error sign! please check your signature generation algorithm.")
    return key


def check_stream(keys: Mapping[str, str], clock: Now, args: Any) -> str:
    """Return the key of a private stream's ``auth`` message; refuse as `check_call` does."""
    if not isinstance(args, list) or len(args) != 3:
        raise Refused(10001, "Params Error")
    key, expires, sign = args
    if key not in keys:
        raise Refused(10003, "API key is invalid.")
    if not str(expires).isdecimal() or int(expires) <= clock():
        raise Refused(10002, "request expired")
    if not hmac.compare_digest(str(sign), signature(keys[key], f"GET/realtime{expires}")):
        raise Refused(10004, "error sign!")
    return key
