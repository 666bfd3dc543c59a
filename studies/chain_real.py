"""A real option chain against Black-76: prices, smiles, parity, arbitrage. The chain stays outside.

    SETRADE_DATA=<folder> make study STUDY=chain_real

Deribit's BTC options of 2021-02-11, read twice within seven minutes: 488 contracts, 976 rows, each
with the second of its own. Stored are figures and a smile by expiry in steps of moneyness, not the
chain. Two seconds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from setrade import options, results
from setrade.study import Data

CHAIN = "deribit_btc_option_chain_20210211.parquet"
GRID = np.linspace(-0.4, 0.25, 14)  # log(strike / forward)
SHOWN = ("2021-02-19", "2021-02-26", "2021-03-26")
SIDES = ("mark_price", "best_bid_price", "best_ask_price")
TOGETHER = 2.0  # seconds within which two rows count as one moment
FEE = 0.0003  # BTC a contract, Deribit's taker fee on options


def read(path: str) -> pd.DataFrame:
    """Return the chain with years to expiry (08:00 UTC), dollars, kinds and volatilities."""
    chain = pd.read_parquet(path)
    expiry = pd.to_datetime(chain["expiry"], utc=True) + pd.Timedelta("8h")
    left = expiry - pd.to_datetime(chain["ts"], unit="ms", utc=True)
    chain["years"] = left.dt.total_seconds() / (365 * 86_400)
    chain["kind"] = chain["kind"].map({"C": "call", "P": "put"})
    chain["sigma"] = chain["mark_iv"] / 100
    chain["seconds"] = chain["ts"] / 1_000
    for name in SIDES[1:]:
        chain[name] = chain[name].where(chain[name] > 0)  # 0 stands for no quote
    return chain


def repriced(chain: pd.DataFrame) -> dict[str, Any]:
    """Return how far Black-76 is from the exchange's prices, Greeks and volatilities."""
    forward = chain["underlying_price"]
    known = (chain["kind"].to_numpy(), forward, chain["strike"], chain["years"])
    gap = options.price(*known, chain["sigma"]) / forward - chain["mark_price"]
    kind, *contract = known
    solved = options.implied_volatility(kind, chain["mark_price"] * forward, *contract)
    delta = options.greeks(*known, chain["sigma"]).delta
    off = pd.Series(100 * np.abs(solved - chain["sigma"]))
    return {
        "price_gap_median": float(gap.abs().median()), "price_gap_most": float(gap.abs().max()),
        "delta_gap_median": float(np.median(np.abs(delta - chain["greeks.delta"]))),
        "volatility_gap_median": float(off.median()), "no_volatility": int(off.isna().sum()),
        "within_a_point": float((off <= 1).mean()),
        "near": float((off[np.abs(delta) < 0.9] <= 1).mean()),
    }  # fmt: skip


def pairs(chain: pd.DataFrame) -> pd.DataFrame:
    """Return every call row beside every put row of its strike and expiry."""
    keep = ["expiry", "strike", "underlying_price", "years", "sigma", "seconds", *SIDES]
    call, put = (chain.loc[chain["kind"] == k, keep] for k in options.KINDS)
    both = call.merge(put, on=["expiry", "strike"], suffixes=("_call", "_put"))
    both["apart"] = (both["seconds_call"] - both["seconds_put"]).abs()
    forward, strike = both["underlying_price_call"], both["strike"]
    both["off"] = (
        both["mark_price_call"] - both["mark_price_put"] - (1 - strike / forward)
    ).abs()  # fmt: skip
    bought = both["best_bid_price_put"] - both["best_ask_price_call"] + (1 - strike / forward)
    sold = both["best_bid_price_call"] - both["best_ask_price_put"] - (1 - strike / forward)
    both["free"] = np.maximum(bought.fillna(-1), sold.fillna(-1))
    return both


def parity(chain: pd.DataFrame) -> dict[str, Any]:
    """Return what parity is off by, in BTC, for rows seconds apart and minutes apart."""
    both = pairs(chain)
    out = {}
    for name, rows in {
        "together": both[both["apart"] <= TOGETHER], "apart": both[both["apart"] > 60]
    }.items():  # fmt: skip
        out[name] = {
            "pairs": len(rows), "median": float(rows["off"].median()),
            "tenth": float(rows["off"].quantile(0.9)),
            "forward_gap": float((
                rows["underlying_price_call"] / rows["underlying_price_put"] - 1
            ).abs().median()),
            "free_before_fees": int((rows["free"] > 0).sum()),
            "free_after_fees": int((rows["free"] > 2 * FEE).sum()),
        }  # fmt: skip
    return out


def bent(chain: pd.DataFrame) -> dict[str, Any]:
    """Return how many butterflies cost less than nothing: at marks, and at quotes one can trade."""
    first = chain.drop_duplicates("instrument_name").sort_values(["expiry", "strike"])
    counts = {"marks": 0, "quotes": 0, "all": 0, "quoted": 0}
    for _, rows in first[first["kind"] == "call"].groupby("expiry"):
        strike, forward = rows["strike"].to_numpy(), rows["underlying_price"].to_numpy()
        mark = options.butterflies(strike, rows["mark_price"] * forward)
        bid, ask = (rows[name].to_numpy() * forward for name in SIDES[1:])
        w = (strike[2:] - strike[1:-1]) / (strike[2:] - strike[:-2])
        cost = w * ask[:-2] + (1 - w) * ask[2:] - bid[1:-1]
        counts["all"] += len(mark)
        counts["marks"] += int((mark < 0).sum())
        counts["quoted"] += int(np.isfinite(cost).sum())
        counts["quotes"] += int((cost < -FEE * forward[1:-1] * 2).sum())
    return counts


def smiles(chain: pd.DataFrame) -> dict[str, Any]:
    """Return by expiry the volatilities of options out of the money, read off at `GRID`.

    A missing bid counts as 0, as in the exchange's own column.
    """
    x = np.log(chain["strike"] / chain["underlying_price"])
    out_of = chain[(x > 0) == (chain["kind"] == "call")].assign(x=x)
    table = {}
    for expiry in SHOWN:
        rows = out_of[out_of["expiry"] == expiry]
        rows = rows.groupby("strike", as_index=False).mean(numeric_only=True).sort_values("x")
        inside = (rows["x"].min() <= GRID) & (rows["x"].max() >= GRID)
        sides = {"mark": rows["mark_iv"], "bid": rows["bid_iv"], "ask": rows["ask_iv"]}
        table[expiry] = {
            name: np.where(inside, np.interp(GRID, rows["x"], iv) / 100, np.nan).tolist()
            for name, iv in sides.items()
        } | {"years": float(rows["years"].mean()), "contracts": len(rows)}
    return table


def halves(chain: pd.DataFrame) -> dict[str, Any]:
    """Return how many marks lie in the middle of bid and ask, a missing bid counted as 0."""
    asked = chain[chain["ask_iv"] > 0]
    gap = (asked["mark_iv"] - (asked["bid_iv"] + asked["ask_iv"]) / 2).abs()
    none = asked["bid_iv"] == 0
    week = asked[(asked["expiry"] == SHOWN[0]) & (asked["strike"].isin([48_000.0, 48_500.0]))]
    return {
        "asked": len(asked), "without_bid": int(none.sum()),
        "middle": float((gap <= 1).mean()), "middle_without_bid": float((gap[none] <= 1).mean()),
        "at_the_jump": {
            f"{k:.0f}": float(v) / 100 for k, v in week.groupby("strike")["mark_iv"].mean().items()
        },
    }  # fmt: skip


def calendars(chain: pd.DataFrame) -> dict[str, int]:
    """Return how many calendar spreads at five forward moneynesses have negative variance."""
    money, years, rows = np.log([0.8, 0.9, 1.0, 1.1, 1.2]), [], []
    x = np.log(chain["strike"] / chain["underlying_price"])
    out_of = chain[(x > 0) == (chain["kind"] == "call")].assign(x=x)
    for _, some in out_of.groupby("expiry"):
        mean = some.groupby("x", as_index=False).mean(numeric_only=True).sort_values("x")
        if mean["x"].min() <= money[0] and mean["x"].max() >= money[-1]:
            years.append(float(mean["years"].mean()))
            rows.append(np.interp(money, mean["x"], mean["sigma"]))
    grows = options.calendars(years, np.array(rows))
    return {"all": grows.size, "negative": int((grows < 0).sum()), "expiries": len(years)}


def main() -> None:
    """Measure the chain and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("SETRADE_DATA"))
    args, start = parser.parse_args(), time.perf_counter()
    data = Data.of(Path(args.data or "") / CHAIN)
    chain = read(data.same())
    spread = chain["best_ask_price"] / chain["best_bid_price"] - 1
    stored = {
        "rows": len(chain), "contracts": int(chain["instrument_name"].nunique()),
        "expiries": int(chain["expiry"].nunique()), "unquoted": float(spread.isna().mean()),
        "minutes": float((chain["seconds"].max() - chain["seconds"].min()) / 60),
        "spread_median": float(spread.median()), "repriced": repriced(chain),
        "parity": parity(chain), "butterflies": bent(chain), "calendars": calendars(chain),
        "smiles": smiles(chain), "moneyness": GRID.tolist(), "middle": halves(chain),
    }  # fmt: skip
    results.save(
        "chain_real", stored, command="SETRADE_DATA=<folder> make study STUDY=chain_real",
        seed=None, seconds=time.perf_counter() - start, data={CHAIN: data.sha256},
    )  # fmt: skip


if __name__ == "__main__":
    main()
