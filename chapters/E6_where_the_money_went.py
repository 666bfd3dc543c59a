# %% [markdown]
# (ch-evening-6)=
# # An evening: where the money went
#
# **An account ends below its backtest: where did the money go?**
#
# ```{admonition} What you will do
# :class: tip
# - let a program follow a rule at a simulated exchange, and compare its account with the backtest
# - rebuild the account from its statement alone, to the cent
# - split the gap into six parts that add up to it, with no rest
# - find in the numbers the night in which nobody was there
# - tell the parts that come again from those that were luck
# ```
#
# *You need* {ref}`ch-streams-and-orders` and {ref}`ch-live-pipeline`.
# *Runs* in under 30 s on two cores; the evening is yours.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pybit.unified_trading import HTTP

# %%
from setrade import backtest, candles, evidence, simulator
from setrade.bybit.broker import TestnetBroker
from setrade.bybit.orders import legs
from setrade.costs import Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
DAYS, SEED = 14, 6
MONEY = 10_000.0
LOOK, MOVE = 48, 0.01  # the rule: a move of 1 % over 48 bars
NIGHT = (475, 507)  # the bars between which nobody was there

# %% [markdown]
# ## Why it is worth an evening
#
# {ref}`ch-live-pipeline` has a paper account that equals its backtest to nine digits, because both
# fill at the next open and charge the same. An account at an exchange is never that close. It is
# lower, or higher, and everybody has an explanation: the fees, the slippage, the rounding. An
# explanation is worth something only if it comes with an amount, and if the amounts add up.
# Bookkeeping can do that exactly, whatever the rule earns. Whoever has done it once for a fortnight
# knows which lines of the live program deserve work.
#
# ## What is given
#
# <!-- number: 12 by arithmetic, 48 bars of 15 minutes -->
# The market is synthetic: minutes of {ref}`ch-candles`, on the tick of a tenth of a dollar as real
# ones are. The rule looks at bars of 15 minutes. It goes long after a rise of 1 % over 12 hours and
# short after a fall of 1 %, with eight tenths of the money, and otherwise stays where it was.
#
# To work with **your own bars**, put `candles.read("mine.parquet", "1min")` in place of the synthetic
# minutes, with whole days and prices on the tick. The checks for single amounts are then no longer
# yours, while those that ask whether all adds up still hold.

# %%
MINUTE, STEP = pd.Timedelta("1min"), pd.Timedelta("15min")
MINUTES = candles.synthetic(1_440 * DAYS, seed=SEED, interval="1min")
MINUTES = MINUTES.candles.round(1)
BARS = candles.resample(MINUTES, "15min")
END = BARS.index[-1] + STEP

# %%
moved = BARS["close"].pct_change(LOOK)
wanted = (0.8 * np.sign(moved)).where(moved.abs() > MOVE)
wanted = wanted.ffill().fillna(0.0)  # after each bar, of the money

# %% [markdown]
# The program follows the rule at the simulated exchange of {ref}`ch-bybit`, with real requests to a
# server on this machine. After each bar that turns the rule it calls `target`. This sends the orders
# that lead from what is held to what is wanted, with sizes cut to whole lots of a thousandth of a
# coin. The program needs a minute for that, so its orders arrive one minute after the bar has closed.
# The exchange charges its fees and, every eight hours, the funding. At a real exchange the program
# would wait; here it moves the clock.

# %%
SYMBOL, KEYS = "BTCUSDT", {"made-up-key": "made-up-secret"}
WEEK = 7 * 86_400_000  # in ms
os.environ["BYBIT_TESTNET_API_KEY"] = "made-up-key"
os.environ["BYBIT_TESTNET_API_SECRET"] = "made-up-secret"


# %%
def wait(exchange, moment):
    """Move the exchange's clock to a moment."""
    now = pd.Timestamp(exchange.now(), unit="ms", tz="UTC")
    exchange.advance(moment - now)


# %%
def follow(exchange, bars):
    """Follow the rule over these bars, as a program just started."""
    broker = TestnetBroker(base_url=exchange.http_url)
    side = np.sign(broker.position(SYMBOL))
    for bar in bars:
        if np.sign(wanted[bar]) != side:
            wait(exchange, bar + STEP + MINUTE)
            at = {"decided": bar + STEP, "price": BARS["close"][bar]}
            broker.target(SYMBOL, wanted[bar], **at)
            side = np.sign(wanted[bar])
    return broker


# %% [markdown]
# The next cell runs the program. One night it died and was started again in the morning. Which night
# that was can be read in the cell, but you will find it in the numbers, as you would have to if
# somebody else had run the program.


# %%
def pages(client, start, end):
    """Return the executions of a span, in ms, the newest first."""
    ask = {"category": "linear", "symbol": SYMBOL, "limit": 100}
    ask |= {"startTime": start, "endTime": end - 1}
    rows, cursor = [], None
    while cursor != "":
        page = client.get_executions(**ask, cursor=cursor or "")
        rows += page["result"]["list"]
        cursor = page["result"]["nextPageCursor"]
    return rows


# %%
def statement(exchange):
    """Return all executions by REST, the oldest first."""
    client = HTTP(api_key="made-up-key", api_secret="made-up-secret")
    client.endpoint, rows = exchange.http_url, []
    begin, end = BARS.index[0], END + MINUTE
    first, last = (int(t.timestamp() * 1_000) for t in (begin, end))
    for start in range(first, last, WEEK):  # Bybit gives no more
        span = pages(client, start, min(start + WEEK, last))
        rows += span[::-1]
    return pd.DataFrame(rows)


# %%
with simulator.serve(MINUTES, keys=KEYS, now=BARS.index[0]) as exchange:
    follow(exchange, BARS.index[: NIGHT[0]])
    broker = follow(exchange, BARS.index[NIGHT[1] : -1])
    wait(exchange, END)
    WALLET = broker.equity()
    rows = statement(exchange)

# %% [markdown]
# What is left of the run is what anybody has of an account: what it is worth at the end, `WALLET`,
# and its statement. The two tables below are made of the statement. `TRADES` has a row for
# each fill, with a size that is negative for a sale, and `FUNDING` a row for each payment, whose fee
# is negative where the account received it.

# %%
numbers = ["execPrice", "execQty", "execFee"]
table = rows[numbers].astype(float)
table.columns = ["price", "size", "fee"]
table["size"] *= rows["side"].map({"Buy": 1, "Sell": -1})
stamps = rows["execTime"].astype("int64")
when = pd.to_datetime(stamps, unit="ms", utc=True)
table.index = pd.DatetimeIndex(when)
is_trade = (rows["execType"] == "Trade").to_numpy()
TRADES, FUNDING = table[is_trade], table[~is_trade]

# %%
# the opens, and the last close behind them: N + 1 prices
N, OPENS = len(BARS), np.append(BARS["open"], BARS["close"].iloc[-1])
print(len(TRADES), "trades and", len(FUNDING), "payments of funding")
print(TRADES.head(3).round(3).to_string())

# %% [markdown]
# ## Step 1: two ends of one rule
#
# ```{exercise} The gap, and your guess
# :label: ex-evening-6-1
# Run the backtest of `wanted` on `BARS` with `MONEY` and the usual costs, and call it `past`. Call
# what the account has more than the backtest, in dollars, `gap`. Then write down, before anything
# else, which of these you expect to be the largest part of it: the fees, the funding, the prices of
# the fills, the rounding to lots, or something else.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `backtest.run(BARS, wanted, equity=MONEY)` has the usual costs without being told.
# ```


# %%
def check_1(past, gap):
    """Hold the gap against wallet and backtest."""
    assert past.equity.iloc[0] == MONEY
    assert abs(WALLET - gap - past.equity.iloc[-1]) < 0.005
    assert -300 < gap < -100


# %% [markdown]
# ```{solution-start} ex-evening-6-1
# :class: dropdown
# ```

# %%
past = backtest.run(BARS, wanted, equity=MONEY)
gap = WALLET - past.equity.iloc[-1]
print(f"backtest {past.equity.iloc[-1]:,.2f}, account {WALLET:,.2f}")
print(f"gap {gap:,.2f}")

# %%
check_1(past, gap)
assert 0.6 < -gap / (past.equity.iloc[-1] - MONEY) < 1

# %% [markdown]
# The backtest earns something, and most of it is missing from the account. The backtest has already
# paid fees and slippage, so that neither can be the whole answer. Whoever has looked at live accounts
# will suspect the fills all the same, because orders arrive a minute late, or the funding, of which
# the backtest knows nothing.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 2: the account from its statement
#
# Before a gap can be split, one must be sure of both ends. The backtest is ours. Of the account we
# have `WALLET`, which is a number that somebody else says.
#
# ```{exercise} Keep the books
# :label: ex-evening-6-2
# `OPENS` has $o_0, \dots, o_{N-1}$, the opens of the $N$ bars, and $o_N$, the last close. Whatever
# happens between two opens belongs to the bar in between, and what happens at `END` to the last bar.
# Make an array `held` of $N$ sizes, the coins held after the trades of each bar. Make an array
# `worth` of $N + 1$ numbers, the worth of the account at each of the opens and at the end. Use the
# two tables and nothing else. Does the last number equal `WALLET`?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# If nothing is traded, the worth changes by what is held times the change of the open. A trade of
# signed size $q$ at price $p$ in bar $k$ adds $q\,(o_k - p)$ to that, because the rule for holding
# counts it as if it had been made at $o_k$. Fees and funding come off. `np.bincount(bars, weights)`
# adds up by bar.
# ```


# %%
def check_2(held, worth):
    """Hold the books against the exchange's own words."""
    assert len(held) == len(BARS) and len(worth) == len(BARS) + 1
    assert abs(held[-1] - TRADES["size"].sum()) < 1e-9
    assert worth[0] == MONEY
    assert abs(worth[-1] - WALLET) < 0.01, "to the cent"


# %% [markdown]
# ```{solution-start} ex-evening-6-2
# :class: dropdown
# ```

# %%
change = np.diff(OPENS)


# %%
def by_bar(table, values):
    """Return what the values of a table add up to in each bar."""
    bar = (table.index - BARS.index[0]) // STEP
    return np.bincount(np.minimum(bar, N - 1), values, N)


# %%
held = by_bar(TRADES, TRADES["size"]).cumsum()
value = by_bar(TRADES, TRADES["size"] * TRADES["price"])
late = by_bar(TRADES, TRADES["size"]) * OPENS[:-1] - value
bills = by_bar(TRADES, TRADES["fee"]) + by_bar(FUNDING, FUNDING["fee"])
earned = held * change + late - bills
worth = MONEY + np.append(0, earned.cumsum())
print(f"books {worth[-1]:,.2f}, wallet {WALLET:,.2f}")

# %%
check_2(held, worth)

# %% [markdown]
# The books and the wallet agree to the cent. So nothing happened to the account that the
# statement does not tell, and each dollar of the gap must be in the terms of one sum. That holds for
# every account, also where the parts of the gap look impossible.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 3: what stands on the statement
#
# ```{exercise} Fees, funding and the price of the fills
# :label: ex-evening-6-3
# Three parts can be read off. For each take what the account got less what the backtest assumed, in
# dollars, so that a negative part makes the account poorer: `fees`, `funding`, and `price`, which is
# what the fills gained or lost against the opens. Put them into a dict called `parts`. What does the
# backtest assume about the third?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `past.trades` has a column with the fees. What the slippage took you get from the same books as in
# step 2, kept for the backtest: all of its end must come from `past.units`, from fees and from
# slippage.
# ```


# %%
def check_3(parts):
    """Hold three parts against the statement and the backtest."""
    assert set(parts) == {"fees", "funding", "price"}
    assert abs(parts["funding"] + FUNDING["fee"].sum()) < 0.01
    paid = past.trades["fees"].sum() - TRADES["fee"].sum()
    assert abs(parts["fees"] - paid) < 0.01
    bar = np.minimum((TRADES.index - BARS.index[0]) // STEP, N - 1)
    better = TRADES["size"] * (OPENS[bar] - TRADES["price"])
    value = TRADES["size"].abs() * TRADES["price"]
    slipped = Costs().slippage_bps / 1e4 * value.sum()
    assert abs(parts["price"] - better.sum() - slipped) < 2


# %% [markdown]
# ```{solution-start} ex-evening-6-3
# :class: dropdown
# ```

# %%
units = past.units.to_numpy()
assumed = past.trades["fees"].sum()
profit = past.equity.iloc[-1] - MONEY
slipped = (units * change).sum() - assumed - profit

# %%
parts = {
    "fees": assumed - TRADES["fee"].sum(),
    "funding": -FUNDING["fee"].sum(),
    "price": late.sum() + slipped,
}
for name, amount in parts.items():
    print(f"{name:9}{amount:9.2f}")
print(f"assumed: fees {assumed:.2f}, slippage {slipped:.2f}")
print(f"the fills cost {-late.sum():.2f} against the opens")

# %%
check_3(parts)

# %%
explained = sum(parts.values())
print(f"so far {explained:.2f} of {gap:.2f}: {explained / gap:.0%}")
assert 0.25 < explained / gap < 0.3
assert 2.7 * slipped < -late.sum() < 3.4 * slipped
assert 0 < parts["fees"] < -parts["funding"] < -parts["price"]

# %% [markdown]
# All that one suspects first stands on the statement, and it is little more than a quarter of the
# gap. The fees even help, since a smaller account has traded a little less. The funding, which the
# backtest was not told of, is small. The fills are the largest of the three: a late minute cost about
# three times what the backtest assumed for slippage, which is one basis point. Is the rest of the gap
# a mistake in the books? Step 2 has shown that it is not.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 4: what does not stand there
#
# ```{exercise} The sizes
# :label: ex-evening-6-4
# What is left can only be in the sizes, since in each bar the account earned `held` times the change
# of the open, and the backtest `past.units` times the same. Add three parts to `parts`:
#
# - `missed`: the difference in bars in which the two stood on different sides;
# - `rounding`: in the other bars, `held` less the size that the rule gives for the account's own
#   money at the open of the bar in which it last turned;
# - `money`: in these bars, that size less `past.units`.
#
# Call the sizes that the rule gives, bar by bar, `fitting`.
# Do all six parts add up to the gap? When was nobody there, as far as the numbers can say?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `legs(fraction, worth, held, price, Costs().rates())[-1]` is the size that the backtest's rule gives
# for an account of that worth, where `held` is what it holds before. Go through the bars, and compute
# it anew wherever `np.sign(held)` changes.
# ```


# %%
def check_4(parts, fitting):
    """Hold sizes and parts against the gap, with slack for each."""
    same = np.sign(held) == np.sign(past.units.to_numpy())
    cut = (held - fitting)[same]
    assert len(parts) == 6
    assert abs(sum(parts.values()) - gap) < 0.01, "a rest is left"
    assert 0.0005 < abs(cut).max() < 0.0025, "cut to whole lots"
    assert abs(parts["rounding"] - (cut * change[same]).sum()) < 0.01
    assert abs(parts["money"]) < 20
    assert min(parts, key=parts.get) == "missed"


# %% [markdown]
# ```{solution-start} ex-evening-6-4
# :class: dropdown
# ```

# %%
sides, rates, size = np.sign(held), Costs().rates(), 0.0
fitting = np.zeros(N)
for k in range(1, N):
    if sides[k] != sides[k - 1]:
        now = 0.8 * sides[k], worth[k], held[k - 1], OPENS[k]
        size = legs(*now, rates)[-1]
    fitting[k] = size

# %%
away = sides != np.sign(units)
parts["missed"] = ((held - units) * change)[away].sum()
parts["rounding"] = ((held - fitting) * change)[~away].sum()
parts["money"] = ((fitting - units) * change)[~away].sum()
for name, amount in parts.items():
    print(f"{name:9}{amount:9.2f}")
print(f"sum      {sum(parts.values()):9.2f}, gap {gap:.2f}")

# %%
hours = BARS.index[away]
print(f"on the other side from {hours[0]} to {hours[-1] + STEP}")

# %%
check_4(parts, fitting)
assert 0.65 < parts["missed"] / gap < 0.75
assert max(abs(parts["rounding"]), abs(parts["money"])) < 1
assert len(hours) == (hours[-1] - hours[0]) // STEP + 1 == 16

# %% [markdown]
# **The largest part stands on no statement.** For four hours of one night the account stood on the
# wrong side, because nobody was there when the rule turned. No order went out, so there is no
# line of it, and no fee. That is nearly three quarters of the gap. Whoever looks through fills for
# the cause of a loss looks at what was done, and this is something that was not done.
#
# The rounding to lots is below a dollar in a fortnight, although it touches each order. The smaller
# sizes of a smaller account come to no more, because what they save in some bars they miss in others.
# The numbers say when the program was missed, and not when it died: as long as the rule does not turn,
# a dead program and a living one hold the same.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 5: which parts come again?
#
# ```{exercise} Any other night
# :label: ex-evening-6-5
# A program that is dead for as long as this one was, `NIGHT[1] - NIGHT[0]` bars, keeps what it
# holds. Use the backtest alone to find what that would have cost or brought at every other start,
# from bar `LOOK` on as long as the night fits, and call the array `nights`; so `nights[0]` is the
# start at bar `LOOK`. In what share of them does it cost something, and in what share does it bring
# something?
#
# Then ask the same of the price. Take what the fills of each turn gained or lost against the open,
# as an array `turns`, and put Student's interval around its mean. Is a late minute a cost?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# A program that dies when bar $a$ has closed holds `past.units[a]` in the bars after it.
# `evidence.t_interval` gives the mean and the interval. Two fills of one minute belong to one turn.
# ```


# %%
def check_5(nights, turns):
    """Hold both arrays against the books, with slack."""
    length = NIGHT[1] - NIGHT[0]
    assert abs(len(nights) - (N - length - LOOK)) < 4
    assert 0.1 < np.mean(nights < -0.005) < 0.3
    assert 0.1 < np.mean(nights > 0.005) < 0.3
    assert nights.min() < parts["missed"] < 0 < 100 < nights.max()
    this = nights[NIGHT[0] - LOOK]
    assert abs(this - parts["missed"]) < 60, "sign, or another night"
    assert len(turns) == TRADES.index.nunique()


# %% [markdown]
# ```{solution-start} ex-evening-6-5
# :class: dropdown
# ```

# %%
length = NIGHT[1] - NIGHT[0]
nights = []
for a in range(LOOK, N - length):
    there = slice(a + 1, a + 1 + length)
    nights.append(((units[a] - units[there]) * change[there]).sum())
nights = np.array(nights)

# %%
turns = late[by_bar(TRADES, TRADES["size"]) != 0]
mean, low, high = evidence.t_interval(turns)
worse, better = np.mean(nights < -0.005), np.mean(nights > 0.005)
print(f"nights: {worse:.0%} cost, {better:.0%} brought something")
print(f"on average {nights.mean():.2f}, deviation {nights.std():.2f}")
print(f"a turn: {mean:.2f}, from {low:.2f} to {high:.2f}")

# %%
check_5(nights, turns)
assert low < 0 < high
assert nights.max() > parts["missed"] - gap > 0
assert abs(nights.mean()) < 0.1 * nights.std()

# %% mystnb={"figure": {"caption": "Left: the six parts of the gap. Right: what a program that is dead for eight hours costs or brings, for every start; the line is the night of this run.", "name": "fig-evening-six"}, "image": {"alt": "Two panels. On the left six bars, of which missed is by far the longest and points to a loss of more than 150 dollars, price follows with about 50, and fees, funding, rounding and money are hardly seen. On the right a histogram with a tall bar at zero and long tails to both sides, as far to the right as to the left, with a line at the night of the run."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.0))
colours = [DOWN if amount < 0 else UP for amount in parts.values()]
left.barh(list(parts), list(parts.values()), color=colours)
left.invert_yaxis()
left.axvline(0, color="black", lw=0.8)
left.set_xlabel("part of the gap (dollars)")
right.hist(nights, bins=np.arange(-420, 421, 40), color=NEUTRAL)
right.axvline(parts["missed"], color=DOWN, label="this night")
right.set(xlabel="dollars for a night away", ylabel="starts")
right.legend()
plt.show()

# %% [markdown]
# The largest part of the gap was luck. From most starts the rule does not turn in time, and
# nothing happens. From the others it costs about as often as it brings something, and the mean over
# all starts is small beside its deviation. The night of this page was chosen because the rule turns in
# it, against the account. **With some other nights the same dead program would have ended above its
# backtest**, and nobody would have asked where the money came from.
#
# Nor is the late minute shown to be a cost: the interval of a turn holds zero, so that a fortnight
# is too short to say. What comes again for certain are the parts that were small here, a payment of
# funding every eight hours and a cut to whole lots with every order (neither of them always to the
# account's loss). So the order of the amounts is not the order in which to mend things.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## What to conclude, and what not
#
# You may conclude that the gap between an account and its backtest can be split without a rest,
# since both are sums over the same bars. You may also conclude that a statement cannot show what
# was not done. To find a missed turn one needs the positions that were wanted. A program that lives
# writes them down, in the journal of {ref}`ch-live-pipeline`; for hours in which it was dead they
# have to be computed anew from the bars, as they were here.
#
# You may not conclude that a dead program does no harm because it cost next to nothing on average
# here. Sixteen turns of one fortnight say little about an average, and the deviation over nights is
# a risk that nobody decided to take, and a rule with skill would lose, with each turn that it
# misses, what the turn would have earned. Nor may you conclude what a late minute costs at a real
# exchange. Here there is no order book, so that an order of any size fills whole at the last price,
# and a synthetic market opens where it closed.
#
# ## Go on
#
# 1. **Let the program learn of its death.** Use the `Journal` and the `Trader` of
#    {ref}`ch-live-pipeline` in place of `follow`, kill it in the same night, and see what it does about
#    the bars that it missed. Does a part of the gap change its place?
# 2. **Make it late.** Let the orders arrive 2, 5 and 15 minutes late, and draw what the fills
#    cost against the lateness, with the interval. How many turns would you need to tell a basis point
#    from zero?
