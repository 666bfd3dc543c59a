# %% [markdown]
# (ch-bybit)=
# # Bybit
#
# **What can an exchange do to your data, and would you notice?**
#
# ```{admonition} What you will do
# :class: tip
# - read bars off the wire, and see which of them is not a bar yet
# - hear a bar grow on a stream, and tell the push that closes it
# - break requests in ten ways, on purpose, and watch a well-known client fail
# - ask again only where it helps, and kill downloads that come out whole
# ```
#
# *You need* {ref}`ch-candles`. *Runs* in under 60 s on two cores. The order book on the stream, and
# the orders that go out, are the matter of the next chapter, {ref}`ch-streams-and-orders`.

# %%
import logging
import os
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pybit.unified_trading import HTTP, WebSocket

# %%
from setrade import bybit, candles, results, simulator
from setrade.bybit.events import Kline
from setrade.bybit.stream import Stream
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.simulator import Fault

use_style()

# %% tags=["parameters"]
LIVE = os.environ.get("SETRADE_BYBIT") == "live"  # where it only reads
N_BARS = 1_500  # of the simulated market
SYMBOL = "BTCUSDT"

# %% [markdown]
# ## 1 An exchange in a box
#
# So far every bar came from a file that was whole. A live program gets its bars from an exchange,
# over a line that may fail, and we want to see each failure before it costs money. But a test that
# needs the internet fails whenever the internet does, and no real exchange will break on request.
# So we bring our own: `setrade.simulator` is a small web server on this machine that speaks Bybit's
# protocol and serves any candles and books that we give it. Its clock stands still until we move
# it. (`python -m setrade.simulator --help` starts one from a terminal.)
#
# The client is **pybit**, which Bybit publishes. We leave it as it is and only change the address
# that it calls. pybit writes each failure into a log, and its threads print how they died. We
# switch both off to keep the page readable, which changes nothing about the failures themselves.

# %%
logging.disable(logging.CRITICAL)
threading.excepthook = lambda end: None

# %%
bars = candles.sample().iloc[:N_BARS]
# the last bar has run for five minutes
NOW = bars.index[-1] + pd.Timedelta("5min")


# %%
def market():
    """The real exchange when asked for, else the one in the box."""
    real = SimpleNamespace(http_url=None)
    return nullcontext(real) if LIVE else simulator.serve(bars, now=NOW)


# %% [markdown]
# We ask for the three newest bars.

# %%
def pybit_at(exchange, **options):
    """pybit's own client, at another address."""
    client = HTTP(**options)
    client.endpoint = exchange.http_url or client.endpoint
    return client


# %%
with market() as exchange:
    answer = pybit_at(exchange).get_kline(
        symbol=SYMBOL, interval=15, limit=3
    )
page = answer["result"]["list"]
print(page[0] if not LIVE else "the newest bar of the real exchange")

# %% [markdown]
# There are three things to see in this answer, and a fourth that does not show. All figures are
# **strings**, because a decimal number would lose digits on its way. The first string is the bar's
# open time in milliseconds. And the **newest bar comes first**, although our frames have it last.
#
# The fourth thing is that the newest bar is not a bar yet. It opened five minutes ago and has ten
# more to run, so its high, low, close and volume will still change. Only the server's clock tells.
#
# ```{prf:definition} Closed bar
# :label: def-closed-bar
#
# A bar is **closed** where its open time plus its length is not after now, by the server's clock.
# ```

# %%
def closed_bars(page, now_ms, length_ms):
    """Strings, newest first, to closed bars, oldest first."""
    rows = [
        row for row in page[::-1] if int(row[0]) + length_ms <= now_ms
    ]
    table = np.array(rows, dtype=float).reshape(-1, 7)
    times = pd.to_datetime(table[:, 0], unit="ms", utc=True).as_unit(
        "us"
    )
    columns = ["open", "high", "low", "close", "volume", "turnover"]
    return pd.DataFrame(
        table[:, 1:], pd.DatetimeIndex(times, name="time"), columns
    )


# %%
by_hand = closed_bars(page, answer["time"], 900_000)
assert len(page) == 3 and len(by_hand) == 2
assert LIVE or (by_hand["close"] == bars["close"].iloc[-3:-1]).all()

# %% [markdown]
# <!-- number: 1,000 from setrade/bybit/constants.py -->
# `bybit.Rest` does that, and what it takes to ask for any span: it pages in windows of at most
# 1,000 bars, clips, sorts, and checks that nothing is missing or double. A span is half open,
# $[\text{start}, \text{end})$, as everywhere in this book.

# %%
with market() as exchange:
    rest = bybit.Rest(exchange.http_url)
    end = by_hand.index[-1] + pd.Timedelta("15min")  # excluded
    pair = rest.klines(SYMBOL, "15min", by_hand.index[0], end)
    whole = rest.klines(SYMBOL, "15min", bars.index[0], NOW)

# %%
assert pair.equals(by_hand)
assert LIVE or len(whole) == N_BARS - 1  # all but the forming one
print(
    f"{len(whole):,} closed bars, "
    f"the last opened {whole.index[-1]:%H:%M}"
)

# %% [markdown]
# With `SETRADE_BYBIT=live` in the environment these cells, and the last one of section 3, read
# from the real exchange. Everything that breaks something stays in the box, and so does every
# order.
#
# ## 2 The life of a bar
#
# To learn when the newest bar has closed, a program could only ask again and again, which is slow
# and burdens the server. The exchange therefore also offers a
# **stream**, which pushes news over one open connection. The topic `kline.15.BTCUSDT` pushes the
# running bar every few seconds, and each push carries a flag `confirm`. It is false while the bar
# forms and true once, when it has closed.
#
# The simulator pushes eleven times inside a bar here, then once at its close. We listen with
# pybit, move the clock by one hour and look.

# %%
class Loopback(WebSocket):
    """pybit's own stream; only the host is rewritten."""

    host = ""

    def _connect(self, url):
        super()._connect(f"{self.host}/v5{url.split('/v5')[1]}")


# %%
def wait_for(condition, seconds=5.0):
    """Wait until something holds; say whether it did."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(condition())


# %%
start = bars.index[400]
pushes = []
with simulator.serve(bars, now=start, updates=11) as exchange:
    Loopback.host = exchange.ws_url
    ws = Loopback("linear", testnet=False)
    ws.kline_stream(
        15, SYMBOL, lambda message: pushes.extend(message["data"])
    )
    wait_for(lambda: exchange.topics)
    exchange.advance("1h")
    wait_for(lambda: len(pushes) == 48)
    ws.exit()

# %%
print(
    len(pushes),
    "pushes,",
    sum(p["confirm"] for p in pushes),
    "of them closed bars",
)

# %%
assert sum(p["confirm"] for p in pushes) == 4

# %% mystnb={"figure": {"caption": "Twelve pushes of each bar; only the last one is the bar.", "name": "fig-bybit-forming"}, "image": {"alt": "Close, and range from low to high, of four 15-minute bars as they form over an hour. Inside each bar the range only grows and the close wanders; a filled dot marks the one push of the twelve that is confirmed, and it alone equals the bar of the source."}}
table = pd.DataFrame(pushes)
x = (table["timestamp"] - table["start"].iloc[0]) / 60_000
low, high, close = (
    table[c].astype(float) for c in ("low", "high", "close")
)
fig, ax = plt.subplots()
for _, bar in table.groupby("start").groups.items():
    ax.fill_between(
        x[bar], low[bar], high[bar], color=NEUTRAL, alpha=0.25, lw=0
    )
    ax.plot(x[bar], close[bar], "o-", ms=3, color=UP, mfc="white", lw=1)
done = table["confirm"]
ax.plot(
    x[done], close[done], "o", ms=7, color=DOWN, label="confirm: true"
)
ax.set(xlabel="minutes", ylabel="price, USD")
ax.legend()
plt.show()

# %%
final = table[done].set_index("start")
truth = bars.iloc[400:404]

# %%
assert (
    final["close"].astype(float).to_numpy() == truth["close"].to_numpy()
).all()

# %%
assert (
    high.groupby(table["start"])
    .apply(lambda h: h.is_monotonic_increasing)
    .all()
)
off = (close - table["start"].map(final["close"].astype(float)))[
    ~done
].abs()
print(
    "a push before the close is off by "
    f"{off.mean():.0f} dollars on average"
)

# %%
assert off.mean() > 20

# %% [markdown]
# The straight paths inside the bars are the simulator's invention, because a bar does not say how
# its price went, and only its ends are true. The grey band is the range so far, which can only
# grow, while the close can go either way. So a push that is taken for a bar has the right open, but
# its high, low, close and volume are those of a part.
#
# ## 3 Ten ways to lose an answer
#
# So far every request was answered, which a real line does not promise. Before we rely on either
# way of reading, we break both, here the requests, and the stream in {ref}`ch-streams-and-orders`. A
# `Fault` waits in the simulator for the next request and spoils it, in one of ten ways:
#
# | kind | what happens |
# |---|---|
# | `rate_limit_future`, `_past`, `_bare` | too many visits; lifted soon, in the past, unsaid |
# | `http_403`, `http_429`, `http_500` | refused, busy, broken: a page of HTML instead of data |
# | `bad_json`, `cut_body` | half of the answer, with a right or a wrong length |
# | `slow`, `drop` | an answer that comes late, or never |
#
# The next cell sends one request into each of them and notes what pybit makes of it.

# %%
def verdict(call):
    """The name of what a call raises, or "answered"."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "answered"


# %%
fate = {}
with simulator.serve(bars) as exchange:
    raw = pybit_at(exchange, timeout=1.5)
    for kind in simulator.REST:
        exchange.inject(
            Fault(kind, seconds=2.0 if kind == "slow" else 0.3)
        )
        fate[kind] = verdict(
            lambda: raw.get_kline(symbol=SYMBOL, interval=15)
        )

# %%
pd.Series(fate, name="pybit").to_frame()

# %%
failures = [name for name in fate.values() if name != "answered"]
assert (len(fate), len(failures), len(set(failures))) == (10, 8, 5)

# %% [markdown]
# Eight of ten end in an exception, in five different classes. pybit waits out two of the rate
# limits. The third one it answers with a `ValueError`, because it computes how long to sleep until
# a moment that has passed, and a negative sleep is an error. It tries none of the other failures
# again.
#
# It is not wrong to fail, but a download of a hundred pages now ends at the first failure, even one
# that would have passed by itself. For those that pass we want a rule: try again, but each time
# after a longer pause, so that a struggling server is not buried under retries ({term}`backoff`).
# Such a rule takes ten lines of code:

# %%
def patiently(call, tries=8, first=0.02):
    """Try again while it may help, waiting twice as long each time."""
    for attempt in range(tries):
        try:
            return call()
        except Exception as error:
            if (
                getattr(error, "status_code", 0) == 403
                or attempt == tries - 1
            ):
                raise
            time.sleep(first * 2**attempt)


# %%
# never passes, takes 2 s, comes last
unlike = ("http_403", "rate_limit_bare", "slow")
passing = [kind for kind in simulator.REST if kind not in unlike] + [
    "slow"
]
faults = [Fault(kind, seconds=0.05) for kind in passing]

# %%
with simulator.serve(bars, faults=faults, now=NOW) as exchange:
    raw = pybit_at(exchange)
    answer = patiently(
        lambda: raw.get_kline(symbol=SYMBOL, interval=15, limit=1000)
    )
    tries = exchange.requests["/v5/market/kline"]

# %%
survivor = closed_bars(
    answer["result"]["list"], answer["time"], 900_000
)
print(f"one page after {tries} tries")

# %%
# seven failures, and the slow answer, which came at last
assert tries == len(faults)

# %% [markdown]
# `bybit.Rest` has the same idea with three additions. The waits are scattered at random, so that a
# thousand clients that failed together do not return together. The rate limit's own reset time is
# obeyed, because it says when the server will answer again. And a failure that does not pass is not
# tried again. `patiently` knows one of them, the address that is refused (403, which lasts ten
# minutes at least, and asking on makes it longer); a wrong request, or an order without the money
# for it, it would send eight times. `Rest` knows the exchange's codes, and gives up on those that
# do not pass.

# %%
with simulator.serve(bars, faults=faults, now=NOW) as exchange:
    patient = bybit.Retry(tries=12, first=0.01)
    rest = bybit.Rest(exchange.http_url, retry=patient)
    got = rest.klines(SYMBOL, "15min", bars.index[0], NOW)
    assert exchange.faults.pending == 0

# %%
assert got.tail(len(survivor)).equals(survivor)  # the two agree
assert (got[bars.columns] == bars.iloc[:-1]).all().all()

# %%
with simulator.serve(
    bars, faults=[Fault("http_403", times=100)]
) as exchange:
    refused = verdict(bybit.Rest(exchange.http_url).server_time)
    print(refused, "after", exchange.requests.total(), "request")

# %%
assert refused == "AccessError"

# %% [markdown]
# Here is the other cell that asks the real exchange, if you let it (section 1).

# %%
with market() as exchange:
    rest = bybit.Rest(exchange.http_url)
    rates = rest.funding(SYMBOL, bars.index[0], NOW)
    listed = rest.instruments("linear").loc[SYMBOL]

# %%
print(
    f"{len(rates)} fundings, "
    f"every {rates.attrs['interval_minutes']} minutes"
)
print("tick", listed["tick_size"], "step", listed["qty_step"])

# %% [markdown]
# ## 4 How sure are we?
#
# A fault may spare one run and spoil the next, so `make study STUDY=torture_rest` does it at
# length; its results are stored in `torture_rest.json`.

# %%
rest_run = results.load("torture_rest")["results"]
fetched, kills = rest_run["faults"], rest_run["kills"]
print(f"{fetched['bars']:,} bars, {fetched['pages']} pages")
print(fetched["requests"], "requests,", end=" ")
print(
    sum(fetched["fired"].values()),
    "faults; same bytes:",
    fetched["identical"],
)

# %%
assert fetched["identical"] and min(fetched["fired"].values()) >= 20
banned = rest_run["forbidden"]
assert banned["requests"] == banned["calls"]  # 403: one try each

# %% [markdown]
# Downloads get interrupted, for example when a laptop sleeps or a battery dies. The cache therefore
# keeps what has arrived, one file a month. Each is written beside its place and then moved into it
# in one step, so that no file is left half written. The study kills the downloading process at
# random moments with `SIGKILL`, which nobody can catch, and then starts it anew.

# %% mystnb={"figure": {"caption": "Fifty downloads killed at random moments, then resumed.", "name": "fig-bybit-kills"}, "image": {"alt": "Deciles, over fifty killed downloads, of the share of bars that the cache held at the moment of death: they rise from none to nearly all. Above it a flat line: after resuming, every download held all bars, none doubled."}}
kept = np.array(kills["bars_kept_deciles"]) / kills["bars"]
share = np.linspace(0, 100, len(kept))
fig, ax = plt.subplots()
ax.plot(
    share, 100 * kept, "o-", color=NEUTRAL, label="when it was killed"
)
resumed = 100 * kills["identical"] / kills["kills"]
ax.axhline(resumed, color=UP, ls="--", label="after resuming")
ax.set(
    xlabel="downloads, ordered, %",
    ylabel="bars kept, %",
    ylim=(-4, 108),
)
ax.legend(loc="center right")
plt.show()

# %%
print(
    kills["identical"],
    "of",
    kills["kills"],
    "downloads equal to the source",
)

# %%
assert (
    kills["identical"] == kills["kills"] >= 50
    and kills["damaged_files"] == 0
)

# %% [markdown]
# We repeat a small part of this here and now: 3,000 bars, with every passing fault three times in
# random order.

# %%
small = candles.synthetic(3_000, seed=20, interval="1min").candles
order = np.random.default_rng(20).permutation(np.repeat(passing, 3))
faults = [
    Fault(str(kind), seconds=0.02, path="/v5/market/kline")
    for kind in order
]

# %%
with simulator.serve(small, faults=faults) as exchange:
    often = bybit.Retry(tries=40, first=0.002, longest=0.02)
    rest = bybit.Rest(exchange.http_url, retry=often)
    got = rest.klines(
        SYMBOL, "1min", small.index[0], rest.server_time()
    )
    struck = exchange.faults.fired.total()

# %%
assert (
    got[small.columns].to_numpy().tobytes()
    == small.to_numpy().tobytes()
)
print(f"{len(got):,} bars, {struck} faults, byte for byte the same")

# %% [markdown]
# ## What goes wrong
#
# All failures so far came from the exchange or from the line. The last one needs neither, only a
# careless reader: somebody records bars from the stream and stores each push as a bar. We have the
# pushes of section 2 at hand: 48 of them, of four bars.

# %%
def recorded(pushes):
    """Pushes as a frame, whatever they are."""
    table = pd.DataFrame(pushes)
    times = pd.to_datetime(
        table["start"], unit="ms", utc=True
    ).dt.as_unit("us")
    columns = ["open", "high", "low", "close", "volume"]
    return (
        table[columns]
        .astype(float)
        .set_axis(pd.DatetimeIndex(times, name="time"))
    )


# %%
naive = recorded(pushes)
print(len(naive), "rows:", verdict(lambda: candles.check(naive)))

# %% [markdown]
# `candles.check` sees that one stamp appears twelve times, as it should. Now comes the quick repair
# that many a cleaning script makes: it keeps the first row of each stamp.

# %%
repaired = naive[~naive.index.duplicated(keep="first")]
print(verdict(lambda: candles.check(repaired)))

# %%
true = bars.iloc[400:404]
wrong = (repaired["close"] - true["close"]).abs()
part = repaired["volume"].sum() / true["volume"].sum()
print(
    f"closes are off by {wrong.mean():.0f} dollars, "
    f"{part:.0%} of the volume there"
)

# %%
assert (
    wrong.mean() > 20
    and verdict(lambda: candles.check(repaired)) == "answered"
)

# %% [markdown]
# The check passes, because nothing in the frame is impossible: it holds four bars, evenly spaced,
# each high above its low. They are only not what happened, and no check can find that out from the
# frame alone, without its source. The flag `confirm` therefore has to be read where it arrives.
# `Stream`, which {ref}`ch-streams-and-orders` takes apart, does so and hands out closed bars only.

# %%
box = simulator.serve(bars, now=start, updates=11)
with (
    box as exchange,
    Stream(f"kline.15.{SYMBOL}", exchange.ws_url) as stream,
):
    wait_for(lambda: exchange.topics)
    exchange.advance("1h")
    closed = [stream.get(5) for _ in range(4)]

# %%
frame = pd.DataFrame(
    [{c: getattr(k, c) for c in bars.columns} for k in closed]
)
assert all(isinstance(k, Kline) for k in closed)
assert (frame.to_numpy() == bars.iloc[400:404].to_numpy()).all()
print([f"{k.time:%H:%M}" for k in closed])

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Asking an exchange is like asking by letter: an answer may be late, torn or missing,
# and one writes again. The picture says why one asks again, but not which answer is complete.
#
# *Measured here.* Against a simulated exchange with planted faults, a well-known client ended at
# most failures of a request. The book's own client fetched the same bytes through every passing
# fault, also where it was killed and began again.
#
# *Open.* The simulator breaks what we thought of. How often the real exchange fails in each way,
# and in which others, was not measured.
# ```
#
# ## Summary
#
# - The newest bar of an answer is still forming. The server's clock, or the flag `confirm`, says
#   when it has closed. No check of the frame can say it later.
# - Failures that pass are tried again with growing, scattered pauses. A refusal is not, because it
#   outlasts every retry.
# - A failure that cannot be produced on request cannot be tested, which is why the exchange here is
#   simulated.
# - A download that may die at any moment writes each file beside its place and moves it there whole.
#
# ## Exercises
#
# ```{exercise} To the millisecond ★
# :label: ex-bybit-4
# Give `closed_bars` the three bars of section 1, once with a clock that stands exactly at the close
# of the newest, and once a millisecond earlier. How many bars are closed in each case?
# ```
#
# ```{solution-start} ex-bybit-4
# :class: dropdown
# ```

# %%
close_ms = int(page[0][0]) + 900_000
found = [
    len(closed_bars(page, close_ms - early, 900_000))
    for early in (0, 1)
]
print(found)

# %%
assert found == [3, 2]  # «not after now» holds at the close itself

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Pages without holes ★★
# :label: ex-bybit-1
# With pybit alone, fetch all closed bars of `bars` in windows of at most 400 bars, with both
# bounds in each request. Count the requests that this takes, and compare the bars with `whole`.
# ```
#
# ```{solution-start} ex-bybit-1
# :class: dropdown
# ```

# %%
first, length, rows = bars.index[0].value // 10**6, 900_000, []
with simulator.serve(bars, now=NOW) as exchange:
    raw, count = pybit_at(exchange), -(-N_BARS // 400)
    for k in range(count):
        low = first + k * 400 * length
        ask = {"start": low, "end": low + 399 * length, "limit": 400}
        answer = raw.get_kline(symbol=SYMBOL, interval=15, **ask)
        rows = answer["result"]["list"] + rows  # newest first

# %%
every = closed_bars(rows, answer["time"], length)
print(count, "requests,", len(every), "bars")
assert LIVE or every.equals(whole)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A request that you need ★★★
# :label: ex-bybit-own
# Choose one request that your own program would need and that this chapter does not use. Find it in
# the exchange's documentation, and write down for each of the ten faults of section 3 what your
# program has to do. Which of them may be tried again, and which must not?
# ```
#
# ```{solution} ex-bybit-own
# :class: dropdown
# A request that only reads may be tried again after a pause. One that changes something may be
# tried again only under a name that the exchange takes once, and otherwise its effect has to be
# asked for first. A refusal with a reason (wrong size, no money) will be refused again, so it goes
# to a person or to the log. If the simulator has no such request, the table of faults is the
# specification of the test to write.
# ```
#
# ## Further reading
#
# The interface is documented by the exchange {cite:p}`bybit2026`; what its documentation leaves
# open is marked "assumption" in the source of `setrade.simulator`. {cite:t}`brooker2015` explains
# why retries need growing and random pauses.
