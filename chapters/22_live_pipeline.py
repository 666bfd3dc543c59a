# %% [markdown]
# (ch-live-pipeline)=
# # The live pipeline
#
# **How does a bar become an order, and what if something breaks on the way?**
#
# ```{admonition} What you will do
# :class: tip
# - follow one bar from the stream to the broker, and find each step in a journal
# - replay a fortnight through the live pipeline and the backtest, and find them equal
# - feed it bars that cannot be true, a broker that refuses and a full disk
# - kill it between two lines, and learn why one order becomes two
# ```
#
# *You need* {ref}`ch-backtesting` and {ref}`ch-streams-and-orders`.
# *Runs* in under 45 s on two cores. What such a program needs when nobody looks at it, from failing
# models to a start after a crash, is the matter of the next chapter, {ref}`ch-unattended`.

# %%
import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# %%
import setrade
from setrade import backtest, candles, results
from setrade.bybit import PaperBroker
from setrade.bybit.orders import OrderRejectedError
from setrade.live import BarEvent, Journal, Pipeline, Recorded, Trader
from setrade.live.journal import JournalError
from setrade.live.types import bars_of
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.risk import Risk
from setrade.signals import Signal

use_style()

# %% tags=["parameters"]
N_BARS = 1_400  # of real 15-minute bars: a fortnight
WARM = 100  # of them are the past when the run begins

# %% [markdown]
# ## 1 From a bar to an order
#
# A backtest has all bars from the start and as much time as it needs. A live program gets one bar
# at a time, from a stream that breaks, and each of its answers moves money. Such a program is
# therefore built as a line of small **stages**, and each stage does one thing:
#
# | stage | gets | gives |
# |---|---|---|
# | source | a recording, the simulator, Bybit | closed bars |
# | guard | a bar | the bar, or nothing if it cannot be true |
# | model | the newest bars | a `Signal`: position, confidence, who says so |
# | risk manager | signal and account | moves: what to buy or sell |
# | executor | a move | an order with a name, and its fate |
#
# :::{figure-md} fig-diagram-live-bar
# ![From top to bottom: the source gives a closed bar, the guard passes it on if it can be true, the model turns the newest bars into a signal, the risk manager turns signal and account into a move, and the executor turns the move into an order at the exchange. Beside the line stands a journal that is written before anything is acted on; fills go back to the account.](_static/diagrams/live_bar.svg)
#
# The path of a bar, from the source to the order.
# :::
#
# Between two stages stands a **queue**. By hand, with two stages and a rule that follows the
# move over 24 bars, that is:

# %%
LOOK = 24  # bars that the rule sees: six hours
bars = candles.sample().iloc[:N_BARS]


# %%
def rule(window):
    """Follow the move over the window; stand aside when it is small."""
    close = window["close"].to_numpy()
    move = close[-1] / close[0] - 1
    position = 0.8 * np.sign(move) * (abs(move) > 0.004)
    return Signal(window.index[-1], position, 1.0, source="rule")


# %%
async def decide(queue):
    """Hear bars one by one, and queue a position for each."""
    for t in range(WARM, N_BARS):
        await queue.put(
            (t, rule(bars.iloc[t - LOOK + 1 : t + 1]).position)
        )
    await queue.put(None)


# %%
async def trade(queue, done):
    """Take positions as they come; a broker would hear of them here."""
    while (item := await queue.get()) is not None:
        done.append(item)


# %%
async def line():
    """Both at once, with room for eight positions between them."""
    queue, done = asyncio.Queue(8), []
    await asyncio.gather(decide(queue), trade(queue, done))
    return done


# %% [markdown]
# A notebook has an event loop of its own, which is busy with the notebook, so we give ours a
# thread.


# %%
def finish(work):
    """Run a coroutine to its end."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


by_hand = finish(line())
print(len(by_hand), "positions, the last one:", by_hand[-1][1])

# %% [markdown]
# The queue has **eight places**. When the trader is slow, the queue fills, `put` waits, and so does
# the stage that decides. That is **back-pressure**: a line that is behind slows down at its
# beginning and forgets nothing. A recording can wait, but a market cannot, so there the stream
# keeps a bounded queue of its own, counts what that has to leave out, and closed bars come back by
# REST ({ref}`ch-bybit`).
#
# `setrade.live.Pipeline` is this line with everything that is still missing. Here is its plan.

# %%
stages = ["source", "guard", "model", "risk", "orders"]
notes = ["", "bars", "signals", "decisions", "orders, fills"]

# %% mystnb={"figure": {"caption": "The pipeline: five stages, two queues, and a journal under all of them.", "name": "fig-live-plan"}, "image": {"alt": "Five boxes in a row, joined by arrows: source, guard, model, risk, orders. Queues of eight places stand before model and before risk. Under them lies one wide box, the journal; an arrow goes down into it from each stage: bars, signals, decisions, orders and fills are written there before the next stage acts."}}
fig, ax = plt.subplots(figsize=(7, 2.4))
box = {"boxstyle": "round,pad=0.5", "fc": "white", "ec": UP}
arrow = {"arrowstyle": "->"}
down = arrow | {"color": DOWN}
small = {"ha": "center", "fontsize": 7, "color": NEUTRAL}
for x, name in enumerate(stages):
    ax.text(2 * x, 1, name, ha="center", va="center", bbox=box)
    if x:
        ends = (2 * x - 0.6, 1), (2 * x - 1.4, 1)
        ax.annotate("", *ends, arrowprops=arrow)
    if name in ("model", "risk"):
        ax.text(2 * x - 1, 1.25, "queue of 8", **small)
    if notes[x]:
        ax.annotate("", (2 * x, 0.1), (2 * x, 0.75), arrowprops=down)
        ax.text(2 * x + 0.1, 0.4, notes[x], fontsize=8, color=DOWN)
wide = "journal (one SQLite file)".center(92)
ax.text(5, -0.15, wide, ha="center", bbox=box | {"ec": DOWN})
ax.set(xlim=(-1, 9), ylim=(-0.5, 1.6))
ax.axis("off")
plt.show()

# %% [markdown]
# ## 2 The same functions as the backtest
#
# Where live code and backtest code are written separately, the backtest may say one thing and the
# account another, and nobody knows which of them is wrong. Here both call the **same compiled
# functions** for fills, fees, stops and limits ({ref}`ch-backtesting`). The backtest calls them in
# a loop over all bars, and the live `Trader` once a bar.
#
# We replay the bars through the pipeline, with a paper broker, and with stops, targets and a
# daily loss limit switched on.

# %%
RISK = Risk(
    stop_atr=1.5, take_profit=1.5, daily_loss=0.008, max_jump=0.01
)
STEP = 15 * 60 * 10**9  # ns


# %%
def pipeline(
    source, model, path=":memory:", broker=None, rows=None, **more
):
    """A pipeline on paper whose rows are kept."""
    # quick, for replays; live, leave it: it outlives a power cut
    journal = Journal(path, durable=False)
    broker = broker or PaperBroker("BTCUSDT", equity=10_000.0)
    trader = Trader(
        journal, broker, "BTCUSDT", STEP, equity=10_000.0, risk=RISK
    )
    keep = (
        None if rows is None else lambda row, seconds: rows.append(row)
    )
    return Pipeline(
        source, model, trader, window=LOOK, on_row=keep, **more
    )


# %%
rows = []
run = pipeline(Recorded(bars, WARM), rule, rows=rows)
report = finish(run.run())
print(
    report.reason,
    "after",
    report.bars,
    "bars, equity",
    round(report.equity, 2),
)

# %%
wanted = [row.target_position for row in rows]
assert wanted == [position for _, position in by_hand]  # the two agree
position = pd.Series(0.0, bars.index)
position.iloc[WARM:] = wanted
past = backtest.run(bars, position, risk=RISK, equity=10_000.0)

# %% mystnb={"figure": {"caption": "Two days of the replay: the backtest as a line, the live pipeline as dots.", "name": "fig-live-replay"}, "image": {"alt": "Units held over two days of 15-minute bars, as a step line from the backtest and as dots from the live pipeline. The position jumps between long, flat and short, and every dot lies on the line."}}
shown = slice(400, 592)
units = np.array([row.units for row in rows])
fig, ax = plt.subplots()
when = bars.index[WARM:][shown]
ax.step(
    when, past.units.iloc[WARM:][shown], where="mid", color=DOWN, lw=1
)
ax.plot(when, units[shown], "o", ms=2.5, color=UP, label="live")
ax.plot([], [], color=DOWN, label="backtest")
ax.set(ylabel="units held, BTC")
ax.tick_params(axis="x", rotation=20)
ax.legend(loc="lower right")
plt.show()

# %%
equity = np.array([row.equity for row in rows])
assert np.allclose(units, past.units.iloc[WARM:], rtol=1e-9, atol=1e-12)
assert np.allclose(equity, past.equity.iloc[WARM:], rtol=1e-9)
print(
    f"{len(units)} bars, {len(past.trades)} trades: "
    "equal to nine digits"
)

# %% [markdown]
# The two accounts are not just similar but equal, bar by bar, fees and stops included. (The rule
# loses, as it may: it is here to trade often, and not to earn.) That rests on one rule about time:
# a decision after a bar is filled at the **open of the next one**, here and there. On a real
# exchange the order goes out at the close, and fills at about the price that will be the next open.
# What lies between those two prices is slippage, and only the live account knows it.
#
# ## 3 Written before it is acted on
#
# The pipeline keeps a **journal**: a database in one file (SQLite), in which every bar, signal,
# decision, order and fill is a row. This is what became of the bar after which the first order was
# decided.

# %%
ask = run.journal.db.execute
# the bar of the fill
first = ask("SELECT min(time) FROM intents").fetchone()[0]
ask(
    "SELECT time, close FROM bars WHERE time = ?", (first - STEP,)
).fetchall()

# %%
told = [
    "position, confidence, source FROM signals",
    "kind FROM decisions",
    "status FROM intents",
]
for part, at in zip(told, (first - STEP, first, first), strict=True):
    row = ask(f"SELECT {part} WHERE time = ?", (at,)).fetchone()
    print(part.split()[-1].ljust(10), row)

# %%
counts = run.journal.counts()
print(counts)

# %%
assert counts["bars"] == N_BARS and counts["signals"] == N_BARS - WARM
assert (
    counts["intents"]
    == counts["fills"]
    == sum(row.orders for row in rows)
)

# %% [markdown]
# The order of these lines matters, because the row of an order is on disk **before** the order is
# sent. So whatever happens, there is never an order that the journal does not know. And its name
# follows from the bar and its place within the bar alone. A program that died, starts again and
# works through the same bar comes to the same name, so it can ask the broker for that name and send
# only what is not there.
#
# That is a promise about code, and we can check it while the code runs, because Python reports each
# function that it enters to a hook (`sys.setprofile`). We hand the pipeline one bar at a time, wait
# until all is done about it, and note which functions of `setrade` were entered on the way, in
# which file, and in which order. (Older Pythons also tell the hook of functions that numba compiled,
# newer ones do not, and then the three files that add nothing else are missing from the figure.)


# %%
class OneByOne(Recorded):
    """A recording that waits for each bar, and notes its path."""

    path, paths = [], []

    async def bars(self, after):
        self.done = asyncio.Event()
        sys.setprofile(self.note)
        async for bar in super().bars(after):
            yield bar
            await self.done.wait()
            self.done.clear()
        sys.setprofile(None)

    def note(self, frame, event, arg):
        code = frame.f_code
        file, name = Path(code.co_filename), code.co_qualname
        if event == "call" and HOME in file.parents and "<" not in name:
            self.path.append((file.relative_to(HOME).as_posix(), name))


# %%
HOME = Path(setrade.__file__).parent
watched = OneByOne(bars.iloc[:300], WARM)


# %%
def is_done(row, seconds):
    """Keep the path of this bar, and let the next one come."""
    watched.paths.append((row.orders, watched.path))
    watched.path = []
    watched.done.set()


# %%
watched_run = pipeline(watched, rule)
watched_run.on_row = is_done
finish(watched_run.run())

# %%
path = next(path for orders, path in watched.paths if orders == 2)
# in the order of first entry
files = list(dict.fromkeys(file for file, _ in path))

# %%
assert 11 <= len(files) <= 14 and 150 < len(path) < 350

# %% [markdown]
# A bar with two orders turns the position: what is held is sold, and then the other side is taken.
# The list below holds the steps of the plan above, by the names that they have in the code, and the
# figure shows where on the way each of them lies.

# %%
steps = [
    "Recorded.bars",
    "BarGuard.judge",
    "Journal.bar",
    "Journal.signal",
    "Trader.on_bar",
    "RiskAccount.open",
    "Journal.request",
    "Journal.commit",
    "PaperBroker.submit",
    "Journal.outcome",
    "Journal.finish",
]

# %%
at = [[name for _, name in path].index(step) for step in steps]
for number, place in enumerate(at, 1):
    print(f"{number:2}  {path[place][0]:18}", path[place][1])
assert at == sorted(at)  # each step comes after the one before it

# %% mystnb={"figure": {"caption": "The path of one bar that turns the position, call by call, through the files of the package. The numbers are the steps listed above.", "name": "fig-live-path"}, "image": {"alt": "Fourteen files of the package on the vertical axis, some 200 to 300 calls on the horizontal one. A thin line goes from file to file. It begins in the pipeline, the source and the guard, touches the journal at steps 3 and 4, goes down to trader and account at steps 5 and 6, back up to the journal at steps 7 and 8, and only then, at step 9, down to the paper broker. After that the same pattern comes a second time, for the second order, and the last step is the journal's."}}
fig, ax = plt.subplots(figsize=(7, 3.6))
y = [files.index(file) for file, _ in path]
ax.plot(y, ".-", color=NEUTRAL, ms=3, lw=0.5)
label = {"color": "white", "fontsize": 7}
label |= {"ha": "center", "va": "center"}
for number, place in enumerate(at, 1):
    y = files.index(path[place][0])
    ax.plot(place, y, "o", ms=11, color=UP)
    ax.text(place, y, number, **label)
ax.set_yticks(range(len(files)), files, fontsize=8)
ax.set(xlabel="functions entered since the bar came")
ax.invert_yaxis()
plt.show()

# %%
sent = [
    i
    for i, (_, name) in enumerate(path)
    if name == "PaperBroker.submit"
]
for i in (
    sent
):  # the last that was done in the journal before an order went out
    written = [name for file, name in path[:i] if "journal" in file]
    print(written[-3:])
    assert written[-1] == "Journal.commit"

# %% [markdown]
# Before each of the two orders the journal wrote the request and **committed** it, and the broker
# hears of it after that. (In a durable journal, which is the default, a commit waits until the disk
# has it. Our replays are quicker without: they stay in memory, or in a file that outlives the
# program and not the power.) The picture is drawn from the run itself, so it cannot say anything
# that the code no longer does.
#
# A run in three pieces, each of which picks up the file that the last one left, is therefore
# the same run.

# %%
pieces = []
with tempfile.TemporaryDirectory() as folder:
    for _ in range(3):
        paper = PaperBroker("BTCUSDT", equity=10_000.0)  # a new one
        more = {"broker": paper, "rows": pieces, "limit": 100}
        piece = pipeline(
            Recorded(bars, WARM), rule, f"{folder}/run.sqlite", **more
        )
        finish(piece.run())
        piece.journal.close()

# %%
same = [(a.time, a.units, a.equity) == (b.time, b.units, b.equity)
        for a, b in zip(pieces, rows, strict=False)]
print(len(same), "bars in three pieces, as in one:", all(same))
assert len(same) == 300 and all(same)

# %% [markdown]
# A program that is asked to stop can finish its work first, but a power cut leaves it no time. In a
# study the pipeline therefore trades at the simulated exchange and is killed with `kill -9` at
# random moments, started again, and killed again. Its orders are then compared with those of a run
# that nobody killed (`make torture`; `torture_live.json`). `changed` counts runs whose list of
# orders was another one, and `position` those after which journal and exchange did not hold the
# same.

# %%
torture = results.load("torture_live")["results"]
names = [
    "kills",
    "orders_a_run",
    "lost",
    "doubled",
    "changed",
    "position",
]
pd.Series(
    {name: torture[name] for name in names}, name="kill -9"
).to_frame()

# %%
assert torture["kills"] == 500
assert not any(
    torture[name] for name in ("lost", "doubled", "changed", "position")
)

# %% [markdown]
# A kill is one way to fail, and a day of smaller faults is another. The study also runs through a
# day of minutes at the simulated exchange, faster than the clock, and every few bars something
# breaks: the line is cut, answers are refused, late, empty or nonsense. After each bar the exchange
# is asked what is held, and at the end account and exchange are compared to the last unit
# (`torture_day.json`).

# %%
lived = results.load("torture_day")["results"]
names = ["bars", "faults", "orders", "silent", "apart", "doubled",
         "unwritten", "open"]
print(pd.Series({name: lived[name] for name in names}).to_string())
print("longest fault", round(lived["longest_fault_s"]),
      "s of the wall clock;", "position", lived["position"],
      "and difference of equity", lived["equity"])

# %%
assert lived["bars"] == 1_440 and lived["longest_fault_s"] < 30
assert not any(lived[name] for name in names[3:])
assert float(lived["position"]) == 0 and lived["equity"] == 0

# %% [markdown]
# `silent` counts ends of a run with something still held that nobody was told of, and `apart` bars
# after which the pipeline and the exchange disagreed on the position. `unwritten` counts orders at
# the exchange that the journal does not know, and `open` orders that were left there at the end.

# %% [markdown]
# ## 4 Bars that cannot be true
#
# Everything that comes from outside is checked before it is used.
#
# | seen | what is done |
# |---|---|
# | NaN, high below low | left out, counted; the position keeps its stop |
# | duplicate, late | left out; a clock that goes back sends late bars |
# | far ahead | left out, until a second bar confirms it |
# | gap | bar taken; nothing is decided until the window is whole again |
# | price jump | bar taken; no new exposure, stops go on working |
# | only faults, no good bar for too long, a live stream that ends | position closed, run ended |
# | kill file | position closed, run ended |
# | signal of the system (Ctrl-C) | run ended, position closed or kept, as `on_exit` says |
#
# We take 80 bars and put four false ones among them: one with a NaN, one twice, one from an hour
# ago, one with its high below its low.


# %%
class Played:
    """A source that plays what it is given."""

    live, step = False, STEP

    def __init__(self, items):
        self.items = items

    async def history(self):
        return self.items[:WARM]

    async def bars(self, after):
        for bar in self.items[WARM:]:
            yield BarEvent(bar)


# %%
clean = bars_of(bars.iloc[: WARM + 80])
bar = clean[130]
strange = [
    bar._replace(close=np.nan),
    clean[129],
    clean[125],
    bar._replace(high=1.0),
]
spoiled = clean[:130] + strange + clean[130:]

# %%
seen, hurt = [], []
finish(pipeline(Played(clean), rule, rows=seen).run())
report = finish(pipeline(Played(spoiled), rule, rows=hurt).run())
print(report.faults)

# %%
assert report.faults == {"malformed": 2, "duplicate": 1, "late": 1}
assert hurt == seen  # not one figure of one bar is different

# %% [markdown]
# A jump is another matter, because it may be true. Here the price rises by 2 % between two bars,
# twice the limit of our `Risk`. The bar is taken, but nothing may be *opened* on it.

# %%
jumped = clean[:101] + [
    b._replace(
        **{
            k: 1.02 * getattr(b, k)
            for k in ("open", "high", "low", "close")
        }
    )
    for b in clean[101:110]
]


# %%
def long(window):
    """Want to be long, always."""
    return Signal(window.index[-1], 0.5, 1.0, source="rule")


# %%
after = []
finish(pipeline(Played(jumped), long, rows=after).run())
pd.DataFrame(
    [(r.units > 0, r.note) for r in after[:4]], columns=["held", "note"]
)

# %%
assert [row.note for row in after[:3]] == ["", "jump", ""]
assert [row.units > 0 for row in after[:3]] == [False, False, True]

# %% [markdown]
# The target position is kept and tried again one bar later. Then the price is where it is, and
# nothing jumps.
#
# ### When the broker refuses
#
# A broker may refuse any order, and the bad case is an order that **closes**. To open nothing costs
# a chance, while to close nothing leaves a position that nobody wants. So what was refused is not
# forgotten: it is tried again at the next open, and its stop goes on working meanwhile. An order
# that was refused is over: the next attempt has a name of its own, and the journal has it before
# the broker does.
#
# This broker refuses the first three orders that close. The model is long for five bars, then
# it wants out.


# %%
class Stubborn(PaperBroker):
    """Refuses to close, three times."""

    left = 3

    def submit(self, request):
        if request.reduce_only and self.left:
            self.left -= 1
            raise OrderRejectedError(
                request.client_order_id, 110007, "not now"
            )
        return super().submit(request)


# %%
def leaving(window):
    """Want to be long for five bars, then to be flat."""
    at = window.index[-1]
    return Signal(
        at, 0.5 * (at < bars.index[WARM + 5]), 1.0, source="rule"
    )


# %%
broker, held = Stubborn("BTCUSDT", equity=10_000.0), []
refused = pipeline(
    Recorded(bars.iloc[: WARM + 20], WARM),
    leaving,
    broker=broker,
    rows=held,
)
report = finish(refused.run())
ask = refused.journal.db.execute
fates = [fate for (fate,) in ask("SELECT status FROM intents")]
print(fates)

# %%
assert fates == ["filled", "rejected", "rejected", "rejected", "filled"]
assert [row.units > 0 for row in held[5:11]] == [True] * 4 + [False] * 2
# seconds, when the run has to end
assert refused.trader.closer.close_timeout == 600

# %% [markdown]
# <!-- number: 15 from setrade/live/trader.py -->
# When the run itself has to end, there is no next open, so attempts follow each other, with waits
# that double up to 15 seconds, for ten minutes (`--closing`). The same holds for an exchange that
# does not answer. Each try is a line in the journal and a count in the metrics. Only after that, or
# when a person presses Ctrl-C after a refusal, the program gives up, says that a position is held,
# and leaves with an exit status of its own, 4. Started again, it goes on trying.
#
# ### When the disk is full
#
# <!-- number: 256 from setrade/live/journal.py -->
# No order goes out that the journal does not have. If the journal can take nothing more, nothing
# may be opened, but what is held must still be closed. A reserve of 256 kB is given back to the
# disk, which is room enough for the last order's line. If even that does not help, the order goes
# out without its line, because it can only close. Here SQLite itself is told, after thirty bars,
# that its file may not grow any more, reserve or not.


# %%
def turning(window):
    """Turn round with every bar, so that something is always held."""
    at = window.index[-1]
    return Signal(
        at, 0.1 if at.minute % 30 else -0.1, 1.0, source="rule"
    )


# %%
def fills_up(row, seconds):
    """After thirty bars the file may not grow any more."""
    before.append(row.units)
    if row.time == bars.index[WARM + 30].value:
        full.journal.commit()
        sql = full.journal.db.execute
        pages = sql("PRAGMA page_count").fetchone()[0]
        sql(f"PRAGMA max_page_count = {pages}")


# %%
broker, before = PaperBroker("BTCUSDT", equity=10_000.0), []
full = pipeline(Recorded(bars, WARM), turning, broker=broker)
full.on_row = fills_up
try:
    finish(full.run())
except JournalError as error:
    print(
        type(error).__name__, "- held now:", broker.position("BTCUSDT")
    )

# %%
assert 30 < len(before) < N_BARS - WARM  # it ended before its time,
# and held until then
assert before[-1] != 0 and broker.position("BTCUSDT") == 0.0

# %% [markdown]
# ## What goes wrong
#
# A trader keeps notes of what it did, so that it can go on after a crash. There are two places for
# the note: after the order, or before it. We try both on a tiny exchange whose plug can be pulled:
# just before the third order arrives, or just after.


# %%
class PowerCut(Exception):
    """The program ends here."""


# %%
class Exchange:
    """Takes each name once. The plug is pulled at the third order."""

    def __init__(self, cut):
        self.orders, self.cut = {}, cut

    def send(self, name, size):
        third = len(self.orders) == 2
        if third and self.cut == "before":
            self.cut = ""
            raise PowerCut
        self.orders.setdefault(name, size)
        if third and self.cut == "after":
            self.cut = ""
            raise PowerCut


# %%
number = count()  # a new name for each order, as many a program does


# %%
def act_first(k, notes, exchange):
    """Send, then take a note."""
    if k not in notes:
        exchange.send(f"order {next(number)}", 1)
        notes.append(k)


# %%
def note_first(k, notes, exchange):
    """Take a note, then send."""
    if k not in notes:
        notes.append(k)
        exchange.send(f"order {next(number)}", 1)


# %%
def survive(step, cut):
    """Take five decisions, with one power cut; count the orders."""
    notes, exchange, k = [], Exchange(cut), 0
    while k < 5:
        try:
            step(k, notes, exchange)
            k += 1
        except PowerCut:
            k = 0  # started again: the notes are all that it has
    return len(exchange.orders)


# %%
def table_of(*steps):
    """Orders after five decisions, by where the plug was pulled."""
    cuts = ("before", "after")
    found = {
        f.__name__: [survive(f, cut) for cut in cuts] for f in steps
    }
    columns = [f"cut {cut}" for cut in cuts]
    return pd.DataFrame.from_dict(
        found, orient="index", columns=columns
    )


# %%
table_of(act_first, note_first)

# %%
assert table_of(act_first, note_first).to_numpy().tolist() == [
    [5, 6],
    [4, 5],
]

# %% [markdown]
# Five decisions, so five orders are right. Acting first **doubles** an order when the plug is
# pulled after it arrived. Noting first **loses** one when it is pulled before. No place for the
# note is right for both.
#
# ```{prf:proposition} A note alone cannot save an order
# :label: prop-note
#
# Let a program write its notes and send its order as separate steps, and after a restart decide
# from the notes alone whether to send. Then there is a moment of death after which the order is
# sent twice or never.
# ```
#
# ```{prf:proof}
# Let the plug be pulled once just before the order arrives, and once just after, with no note
# written in between. Both deaths leave the same notes, so the program does the same after both. If
# it sends, the second death doubles the order. If it does not, the first one loses it.
# ```
#
# The way out is not a better place but a **name** that both sides know. Write the note first, with
# a name made of the decision. After a restart send the order again, under the same name, because an
# exchange that has it already does not take it a second time.


# %%
def named(k, notes, exchange):
    """Note, then send, again if need be, under the decision's name."""
    notes.append(k)
    exchange.send(f"decision {k}", 1)


table_of(act_first, note_first, named)

# %%
assert table_of(named).to_numpy().tolist() == [[5, 5]]

# %% [markdown]
# This is what the executor of `setrade.live` does. Besides, it asks the broker for the name before
# it sends, because some exchanges forget names after a while. The note is still needed, because
# without it the program does not know *which* names to ask for.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A live program is a line of people who hand each other a bar, beside whom somebody
# writes down everything before it happens. The picture explains the journal, but not whether it
# suffices.
#
# *Proved.* Notes alone cannot keep an order from being lost or doubled ({prf:ref}`prop-note`),
# which is why both sides must know its name.
#
# *Measured here.* On real bars of the sample, replay and backtest agreed bar by bar. At a simulated
# exchange, hundreds of kills at random moments lost and doubled no order, and a day of planted
# faults left account and exchange equal.
#
# *Open.* No real order was sent. What a real exchange does over months was not seen here.
# ```
#
# ## Summary
#
# - A live program is a line of small stages with bounded queues. When one stage is slow, those
#   before it wait, so that nothing is lost.
# - Live and backtest call the same functions, so a replay is equal to nine digits, or one of
#   them is wrong.
# - Write first, then act, under a name that follows from the decision, so that a death at any
#   moment loses nothing and doubles nothing.
# - A bar that cannot be true changes nothing. Silence, and a source that sends only faults, end
#   the run, flat.
# - What a broker refuses to close is tried again, each time under a new name. With a full disk
#   nothing is opened, but positions are still closed.
#
# ## Exercises
#
# ```{exercise} Room for one ★
# :label: ex-live-4
# The queue of section 1 has eight places. Let the same line run with one place, and compare its
# positions with `by_hand`. What would a queue of one place cost in a live run?
# ```
#
# ```{solution-start} ex-live-4
# :class: dropdown
# ```

# %%
async def narrow():
    """The same two stages, with room for one position between them."""
    queue, done = asyncio.Queue(1), []
    await asyncio.gather(decide(queue), trade(queue, done))
    return done

# %%
assert finish(narrow()) == by_hand

# %% [markdown]
# The positions are the same, since a full queue makes its sender wait and forgets nothing. In a live
# run the stage that decides would wait for the broker at once, even when a single answer is late.
#
# ```{solution-end}
# ```
#
# ```{exercise} The red button ★★
# :label: ex-live-3
# `KillSwitch(file)` looks for a file ten times a second, as long as no model holds up the event
# loop. Run the pipeline on bars that never end, create the file after the fiftieth row, and show
# that nothing is held afterwards.
# ```
#
# ```{solution-start} ex-live-3
# :class: dropdown
# ```

# %%
from setrade.live import KillSwitch


# %%
class Endless(Played):
    """The same bars, and then the last one's followers, for ever."""

    async def bars(self, after):
        for k in count(WARM):
            bar = self.items[min(k, len(self.items) - 1)]
            await asyncio.sleep(0.002)
            yield BarEvent(
                bar._replace(time=self.items[0].time + k * STEP)
            )


# %%
with tempfile.TemporaryDirectory() as folder:
    button, kept = Path(folder) / "stop", []
    broker = PaperBroker("BTCUSDT")
    line = pipeline(
        Endless(clean), long, broker=broker, switch=KillSwitch(button)
    )
    line.on_row = lambda row, seconds: (
        kept.append(row.units),
        len(kept) == 50 and button.touch(),
    )
    report = finish(line.run())

# %%
print(
    report.reason,
    "- held before:",
    max(kept) > 0,
    "- held now:",
    report.units,
)

# %%
assert (
    report.reason == "kill_file" and broker.position("BTCUSDT") == 0.0
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A day beside your own strategy ★★★
# :label: ex-live-own
# Replay a day of bars of your own through the live pipeline with a strategy of your own, then kill
# it at a moment that you choose and start it again. Which of your assumptions does the journal
# contradict?
# ```
#
# ```{solution} ex-live-own
# :class: dropdown
# Compare the journal with a backtest on the same bars, decision by decision. Differences come from
# a feature that needed more history than was kept, from an order that the account could not carry,
# or from a bar that the backtest saw closed and the live program saw forming. Each difference is a
# fault of one of the two, and saying which is the exercise.
# ```
#
# ## Further reading
#
# That a system which cannot tell whether it did something must make doing it twice harmless is
# argued by {cite:t}`helland2012`. How SQLite's write-ahead log survives a crash is told by its makers
# {cite:p}`sqlite2026`.
