"""Draw the status page of chapter 22b: a run on the sample, photographed in the middle.

It needs Chromium; where there is none, the committed picture stays as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

from setrade import candles
from setrade.bybit import PaperBroker
from setrade.live import Failover, Journal, Pipeline, Recorded, Row, Trader
from setrade.live.monitor import Monitor
from setrade.live.status import page
from setrade.risk import Risk
from setrade.signals import Signal

OUT = Path(__file__).resolve().parent.parent / "book" / "_static" / "live_status.png"
STEP = int(pd.Timedelta("15min").value)
SPEED = 200_000.0  # times real time: 4.5 ms a bar
COLOURS = 256  # of the picture: it is a page of text


def follow(window: pd.DataFrame) -> Signal:
    """Follow the move over the window."""
    move = float(np.log(window["close"].iloc[-1] / window["close"].iloc[0]))
    position, confidence = 0.6 * float(np.sign(move)), min(0.5 + 10 * abs(move), 1.0)
    return Signal(window.index[-1], position, confidence, source="rule", model="rules")


def net(window: pd.DataFrame) -> Signal:
    """Stand for a net that is out of memory."""
    raise MemoryError("a net would need more")


def photographed(bars: pd.DataFrame, at: int) -> str:
    """Return the page as it is after ``at`` bars, or when next something is held."""
    monitor, pages, seen = Monitor(), [], count()
    journal = Journal(":memory:")
    trader = Trader(
        journal, PaperBroker("BTCUSDT"), "BTCUSDT", STEP, equity=10_000.0,
        risk=Risk(stop_atr=2.0, take_profit=2.0, daily_loss=0.03),
    )  # fmt: skip

    def on_row(row: Row, seconds: float) -> None:
        if next(seen) >= at and monitor.snapshot().state == "trading":
            pages.append(page(monitor.snapshot()))

    chain = Failover([("net", net), ("rules", follow)], budget=0.05)
    source = Recorded(bars.iloc[: at + 400], 300, speed=SPEED)
    line = Pipeline(source, chain, trader, window=48, monitor=monitor, on_row=on_row)
    asyncio.run(line.run())
    return pages[0]


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=600, help="of the run")
    bars = parser.parse_args().bars
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if chromium is None:
        print("no Chromium on this machine: the picture stays as it is")
        return
    text = photographed(candles.sample(), bars)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1000, "height": 700})
        tab.set_content(text)
        picture = Image.open(io.BytesIO(tab.screenshot(full_page=True)))
        browser.close()
    picture.convert("RGB").quantize(COLOURS).save(OUT, optimize=True)
    print(f"{OUT.name}: {OUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
