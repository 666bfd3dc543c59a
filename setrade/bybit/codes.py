"""What the exchange's error codes say about an order: one table, and nothing decided elsewhere.

``order`` is what a code says of what was asked for: ``"none"`` it has not been done; ``"maybe"``
nobody knows, it has to be looked up; ``"done"`` it had been done before (an order of that name
exists, or the one to be cancelled has ended). ``passes`` says that the same request may well
succeed a little later. Whatever is neither in the table nor passing is final.

Sources, in our own words: https://bybit-exchange.github.io/docs/v5/error (HTTP, order entry, UTA
and spot, as of 2026-07), compared with the error tables of ccxt (``bybit.py``, ``exceptions``) and
pybit (``retry_codes``); 409 is pybit's own, for an answer that is no JSON.
"""

from __future__ import annotations

from typing import NamedTuple

FATES = ("none", "maybe", "done")


class Code(NamedTuple):
    """One row: the code, what it says of an order, whether it passes, and in words."""

    code: int
    order: str
    passes: bool
    words: str


def _rows(order: str, passes: bool, words: dict[int, str]) -> list[Code]:
    return [Code(code, order, passes, text) for code, text in words.items()]


ROWS = [
    *_rows("none", True, {
        429: "the trading service is under load", -1: "expired before it was read",
        10006: "too many requests of this key", 10018: "too many requests of this address",
        10019: "the service restarts and takes no new requests", 10429: "system-wide limit",
        20003: "too many requests of this session", 110063: "settlement in progress",
        110079: "the order is being worked on", 110114: "a spread order is in progress",
        170005: "too many new orders", 170144: "the order is locked",
        170191: "cannot be cancelled yet", 170222: "too many requests in this time",
    }),
    *_rows("maybe", True, {
        409: "the answer is no JSON", 500: "server error", 502: "bad gateway",
        503: "unavailable", 504: "gateway timeout", 10000: "the server timed out",
        10014: "a duplicate request", 10016: "internal error, or a restart",
        40004: "changed while it was being replaced", 3400214: "server error, try again",
        170001: "internal error", 170007: "no answer from behind the server",
        170032: "network error", 170035: "handed on for processing", 170146: "creation timed out",
        170147: "cancellation timed out", 170150: "the cancellation failed",
        170212: "the cancellation is being worked on", 170234: "system error",
        170310: "modification timed out",
    }),
    *_rows("done", False, {
        110001: "no such order (any more)", 110008: "filled or cancelled before",
        110010: "cancelled before", 110072: "the name is taken", 170139: "filled before",
        170141: "the name is taken", 170142: "cancelled before", 170143: "not in the book",
        170190: "the cancellation is finished", 170213: "no such order (any more)",
    }),
    *_rows("none", False, {
        400: "bad request", 401: "not signed, or by the wrong key",
        403: "address limit, or a region that is not served", 404: "no such path",
        10001: "wrong parameters", 10002: "the clock is off", 10003: "unknown key",
        10004: "wrong signature", 10005: "the key may not do that", 10007: "not authenticated",
        10008: "banned, or the wrong account mode", 10009: "not served in this region",
        10010: "address not bound to the key", 10017: "no such route",
        10024: "compliance rules", 10027: "trading is banned", 10028: "unified accounts only",
        10029: "the symbol is not on the key's list", 10404: "no such operation or category",
        33004: "the key has expired", -2015: "the key has expired",
        30208: "price above the highest allowed", 30209: "price below the lowest allowed",
        30228: "no new positions before a delisting", 110003: "price out of the allowed range",
        110004: "wallet balance too small", 110005: "the position's state forbids it",
        110006: "cannot cover the position's margin", 110007: "available balance too small",
        110009: "too many conditional orders", 110011: "would be liquidated at once",
        110012: "available balance too small", 110017: "nothing left to reduce",
        110018: "illegal user", 110019: "illegal order id", 110020: "more than 500 open orders",
        110021: "above the limit of open interest", 110022: "may not be made larger",
        110023: "only reducing is allowed", 110029: "no hedge mode on this symbol",
        110032: "illegal order", 110040: "would be liquidated at once",
        110042: "only reducing before the delivery", 110044: "available margin too small",
        110045: "wallet balance too small", 110051: "balance below the lowest price",
        110052: "balance below the price", 110053: "balance below the market and its limit",
        110066: "trading is not allowed now", 110074: "the contract is not live",
        110085: "the risk limit has changed", 110086: "leverage above the risk tier",
        110089: "above the highest risk tier", 110090: "above the position's limit",
        110094: "below the smallest value", 110103: "post-only orders only",
        110118: "no price for a market order", 110120: "price below its limit",
        110121: "price above its limit", 110123: "trading terms not agreed to",
        110124: "cooling-off period", 110125: "trading terms not agreed to",
        110131: "margin limit exceeded", 110132: "not available in this region",
        170115: "wrong time in force", 170116: "wrong order type", 170117: "wrong side",
        170121: "unknown symbol", 170124: "amount too large", 170131: "balance too small",
        170132: "price too high", 170133: "price too low", 170134: "price off the tick",
        170136: "quantity too small", 170137: "quantity off the step",
        170140: "value below the smallest", 170145: "cannot be cancelled",
        170149: "the creation failed", 170151: "the pair is not open",
        170210: "rejected", 170381: "quantity too large", 170382: "quantity too large",
        170810: "more than 500 open orders",
    }),
]  # fmt: skip
TABLE = {row.code: row for row in ROWS}
# Refusals after which the listing is asked for anew: steps and minima may have changed meanwhile.
RULES = {10001, 110003, 110094, 170132, 170133, 170134, 170136, 170137, 170140, 170381, 170382}
NOTHING_TO_REDUCE, CANCELLED = 110017, {110010, 170142, 170190}


def passes(code: int) -> bool:
    """Say whether the same request may well succeed a little later."""
    return TABLE[code].passes if code in TABLE else 500 <= code < 600


def fate(code: int) -> str:
    """Return what a code says of an order; ``"odd"`` of one that nobody has described."""
    if code in TABLE:
        return TABLE[code].order
    return "maybe" if 500 <= code < 600 else "odd"
