# %% [markdown]
# (ch-backtesting)=
# # Backtesting
#
# **How do we play a rule over past bars so that every figure could have happened?**
#
# ```{admonition} What you will do
# :class: tip
# - keep a ledger over four bars with a pencil, and check it by machine
# - write an engine in twenty lines, and find it equal to `setrade.backtest`
# - charge fees, slippage and funding, one after the other, and see which of them costs which rule
#   most
# - ask how much money a rule can carry, and hold less when the market is wild
# - place stops and targets inside a bar, and compute each performance figure by hand
# ```
#
# *You need* {ref}`ch-candles` and {ref}`ch-channels`. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import (
    backtest,
    candles,
    costs,
    metrics,
    plots,
    races,
    results,
    risk,
)
from setrade.backtest import Costs, Risk
from setrade.costs import FREE
from setrade.plots import use_style

use_style()

# %% tags=["parameters"]
LOOKBACK = 96  # bars of the plain momentum rule: one day
LOOKBACKS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384)  # of the sweep
THRESHOLDS = np.linspace(0, 0.05, 11)

# %% [markdown]
# ## 1 A ledger with a pencil
#
# The chapters so far sent their rules through `backtest.run` without looking inside. A backtest is
# bookkeeping, so we begin with four bars and 101 dollars. Each trade pays a fee of 1 % of its
# value, which is far too much and easy to compute.
#
# | bar | open | close | decided after the close |
# |---|---|---|---|
# | 0 | 100 | 100 | be long with all the money |
# | 1 | 100 | 102 | stay |
# | 2 | 104 | 108 | be flat |
# | 3 | 110 | 111 | nothing |
#
# The decision after bar 0 is carried out at the next price that anybody can trade: the **open of
# bar 1**. One unit costs 100, its fee is 1, and so the money is spent. The decision after bar 2
# sells that unit at 110, the open of bar 3, for a fee of 1.10.
#
# We keep two numbers, because a profit that is still open can be lost again.
#
# ```{prf:definition} Cash and equity
# :label: def-cash-equity
#
# **Cash** is realised money: the start, plus closed profits, less costs. **Equity** after bar $t$
# is cash plus what the open position has earned so far,
#
# $$\text{equity}_t = \text{cash}_t + u_t\,(\text{close}_t - \text{entry}),$$
#
# where $u_t$ is the number of units that are held, negative for a short, and the entry is the mean
# price at which they were opened.
# ```
#
# What the units cost is not taken out of cash, because it is still there in the units. With $u = 1$
# unit from bar 1 on, the pencil says 101, then $100 + 2$, then $100 + 8$, then $100 + 10 - 1.10$.
# Now we let the machine compute the same.

# %%
times = pd.date_range(
    "2024-01-01", periods=4, freq="1D", tz="UTC", name="time"
)
opens, closes = (
    [100.0, 100.0, 104.0, 110.0], [100.0, 102.0, 108.0, 111.0],
)
four = pd.DataFrame(
    {
        "open": opens, "high": closes, "low": opens, "close": closes,
        "volume": 1.0,
    },
    index=times,
)
one_percent = Costs(fee_bps=100, slippage_bps=0)

# %%
result = backtest.run(
    four, [1, 1, 0, 0], costs=one_percent, equity=101.0
)
pencil = [101, 100 + 2, 100 + 8, 100 + 10 - 1.10]
assert np.allclose(result.equity, pencil)
pd.concat([result.cash, result.units, result.equity], axis=1).round(2)

# %% [markdown]
# The trade itself stands in the ledger, where `gross` is size times the move and `pnl` is what is
# left after both fees. The column `pnl` always adds up to the change of equity. This is the first
# law that the tests of `setrade.backtest` check on random markets.

# %%
assert np.isclose(
    result.trades["pnl"].sum(), result.equity.iloc[-1] - 101
)
result.trades[
    ["entry_price", "exit_price", "gross", "fees", "pnl", "reason"]
].round(2)

# %% [markdown]
# Shorts need one more look, because a trader who borrows a coin and sells it receives money at
# once. It is not income: the unit has to be bought back. An engine that counts it as income doubles
# the account on a flat price, while ours counts realised profits only.

# %%
flat = four.assign(open=100.0, high=100.0, low=100.0, close=100.0)
short = backtest.run(
    flat, [-1, -1, -1, -1], costs=FREE, equity=100_000.0
)
with_proceeds = 100_000 - short.units * 100  # the wrong count
print(
    f"right {short.equity.iloc[-1]:,.0f}, wrong "
    f"{with_proceeds.iloc[-1]:,.0f}"
)

# %%
assert (short.equity == 100_000).all() and with_proceeds.iloc[
    -1
] == 200_000

# %% [markdown]
# ## 2 The engine in twenty lines
#
# The position $f$ is the fraction of equity that we want to hold. Three questions must have
# an answer before we write code.
#
# 1. *When?* What is decided after bar $t$ fills at the open of bar $t + 1$.
# 2. *How much?* We spend $f$ times the equity, the fee included. At price $p$ and fee rate
#    $c$ that buys $u = f E / (p\,(1 + c))$ units.
# 3. *And then?* We hold those units until $f$ changes. We do not trim them at each bar.
#
# Slippage makes every fill a little worse: a buyer pays $p\,(1 + s)$, a seller gets
# $p\,(1 - s)$.


# %%
def close_position(cash, units, entry, price, fee, slip):
    """Return the cash after selling (or buying back) all units."""
    filled = price * (1 - slip if units > 0 else 1 + slip)
    return cash + units * (filled - entry) - abs(units) * filled * fee


def open_position(cash, want, price, fee, slip):
    """Return cash, units and entry price after spending |want| of the
    cash."""
    entry = price * (1 + slip if want > 0 else 1 - slip)
    units = want * cash / (entry * (1 + fee))
    return cash - abs(units) * entry * fee, units, entry


# %%
def small_engine(bars, position, fee, slip):
    """Return the equity at each close."""
    cash, units, entry, curve = 1.0, 0.0, 0.0, []
    decided = np.r_[0.0, position[:-1]]  # known at each open
    before = np.r_[0.0, decided[:-1]]
    columns = bars["open"], bars["close"], decided, before
    for opened, closed, want, had in zip(*columns, strict=True):
        if want != had and units:
            cash, units = (
                close_position(cash, units, entry, opened, fee, slip),
                0.0,
            )
        if want != had and want:
            cash, units, entry = open_position(
                cash, want, opened, fee, slip
            )
        curve.append(cash + units * (closed - entry))
    return np.array(curve)


# %% [markdown]
# We give both engines the same plain rule on real bars: be long when the price is above that
# of a day ago, be short when it is below. This is **momentum** in its simplest form.

# %%
bars = candles.sample()
momentum = np.sign(bars["close"].diff(LOOKBACK).fillna(0.0)).to_numpy()
ours = small_engine(bars, momentum, fee=0.00055, slip=0.0001)
theirs = backtest.run(
    bars, momentum, costs=Costs(fee_bps=5.5, slippage_bps=1.0)
)
assert np.allclose(ours, theirs.equity, rtol=1e-12)
print(
    f"{len(bars):,} bars, {len(theirs.trades)} trades, {ours[-1]:.4f} "
    "at the end"
)

# %% [markdown]
# Twenty lines are enough for decisions and fees. The engine in the package does the same in
# compiled code, and adds what the next sections need: funding, stops, targets, limits, liquidation,
# fractions that grow and shrink, and a ledger.
#
# ## 3 What trading costs
#
# <!-- number: 5.5, 1, 2 from setrade/costs.py -->
# Three costs are charged. A **fee** goes to the exchange at each fill: 5.5 hundredths of a per
# cent (basis points, bps) for a *taker* who crosses the spread, 2 for a *maker* who waits.
# **Slippage** is the distance between the price we saw and the price we got. **Funding**
# passes between holders of a perpetual future, as a rule every eight hours: longs pay shorts
# when the rate is positive.
#
# Fees look small, since a round trip at 5.5 bps and 1 bp of slippage costs about 13 bps. But how
# large is what the rule earns on one trade before costs?
#
# <div data-move="costs">

# %%
free = backtest.run(bars, momentum, costs=FREE)
earned = 1e4 * np.log(free.equity.iloc[-1]) / len(free.trades)
paid = (
    1e4
    * np.log(free.equity.iloc[-1] / theirs.equity.iloc[-1])
    / len(free.trades)
)
print(
    f"a trade earns {earned:.1f} bps before costs and pays {paid:.1f} "
    "bps"
)

# %%
assert 0 < earned < paid

# %% mystnb={"figure": {"caption": "One rule, four levels of cost.", "name": "fig-backtest-costs"}, "image": {"alt": "Equity of the daily momentum rule at fees of 0, 2, 5.5 and 10 basis points a side over 58 days: only the free account ends above its start, and each higher fee ends lower."}}
levels = (0.0, 2.0, 5.5, 10.0)
charged = [
    backtest.run(
        bars, momentum, costs=Costs(fee_bps=fee, slippage_bps=0)
    )
    for fee in levels
]
fig, ax = plt.subplots()
for fee, style, run in zip(
    levels, ("-", "--", "-.", ":"), charged, strict=True
):
    ax.plot(
        run.equity.index, run.equity, style, label=f"{fee:g} bps a side"
    )
ax.axhline(1, color="0.5", lw=0.8)
ax.set(xlabel="date, UTC", ylabel="equity, start = 1")
ax.legend()
plt.show()

# %%
ends = [run.equity.iloc[-1] for run in charged]
assert ends[0] > 1 > ends[1] > ends[2] > ends[3]

# %% [markdown]
# Where scripts are on, the same account follows with a fader for each cost, on the same bars and by
# the rules of the same engine. Try the rule that looks back four hours: it trades far more often,
# so that a single basis point more is a large sum. Then hold, and see that only funding still makes
# a difference.
#
# </div>
#
# Without costs the rule gains a little, but at the maker's fee it already loses. A rule that trades
# five times a day needs a larger edge than one that trades once a week, because it pays the costs
# more often. Chapter {ref}`ch-honest-evaluation` looks for the fee that uses up an edge.
#
# Funding is the rent of a position: at a rate of one bp every eight hours a long pays three times a
# day.

# %%
a_year = 0.0001 * 3 * 365
print(f"{a_year:.2%} of the position's value a year")
every_eight = pd.date_range(
    bars.index[0].ceil("8h"), bars.index[-1], freq="8h"
)
rates = pd.Series(0.0001, every_eight)
rented = backtest.run(
    bars, np.ones(len(bars)), costs=FREE, funding=rates
)
print(
    f"{rented.metrics()['funding']:.4f} of the first equity in "
    f"{len(rates)} payments"
)

# %%
assert abs(a_year - 0.1095) < 1e-12

# %% [markdown]
# A payment at 08:00 falls on what was held *into* 08:00. A position that is filled at the open of
# the 08:00 bar therefore pays nothing yet, and the engine charges funding before it fills orders.
#
# ### One cost after the other
#
# A single figure after all costs hides which of them did the damage. So run the same positions
# four times, each time with one cost more, and write down what each step took. The measure is the
# mean return of a bar times the bars in a year, because means can be added and subtracted.

# %%
def mean_return(equity):
    """Return the mean return of a bar, times the bars in a year."""
    return (equity[1:] / equity[:-1] - 1).mean() * theirs.periods


# %%
charges = {
    "gross": (0, 0), "fees": (0.00055, 0),
    "slippage": (0.00055, 0.0001),
}
level = [
    mean_return(small_engine(bars, momentum, *charge))
    for charge in charges.values()
]
taken = dict(zip(charges, [level[0], *np.diff(level)], strict=True))
print({name: f"{100 * x:+.0f} %" for name, x in taken.items()})
print(f"net {100 * level[-1]:+.0f} %")

# %% [markdown]
# The four numbers add up, since each step begins where the last one ended. `backtest.waterfall`
# does the same and charges funding too. Its second column charges each cost *alone*. What the costs
# take together beyond that is their **interaction**, which arises because slippage is paid on a
# position that the fee has made a little smaller. Here it is next to nothing, so the order does not
# matter.

# %%
table = backtest.waterfall(bars, momentum, funding=rates)
assert np.allclose(
    table["in_turn"][list(taken)], list(taken.values()), atol=1e-9
)
assert np.isclose(table["in_turn"][:-1].sum(), table["in_turn"]["net"])
assert abs(table["alone"]["interaction"]) < 0.001
table.round(4)

# %% [markdown]
# ### Funding as it was
#
# One basis point is the rate at rest. What did holders really pay? Bybit publishes every
# settlement, and their sum over a year is what a position that never changes its size in money paid
# (`costs_real.json`).

# %%
# make study STUDY=costs_real
real = results.load("costs_real")["results"]
paid = real["funding"]["by_year"]
print({year: f"{share:.2%}" for year, share in paid.items()})
print(
    f"negative at {real['funding']['negative']:.0%} of the settlements"
)

# %%
assert paid["2022"] < paid["2023"] < paid["2024"]
assert paid["2024"] > 100 * 2 * 0.00055

# %% [markdown]
# In 2024 that was more than a taker's fee for a hundred round trips, and it is paid for standing
# still. In a rising market longs crowd, the rate climbs, and the rent falls due on exactly the side
# that momentum takes. A backtest of a perpetual that leaves out funding therefore misses a cost
# that a holder really pays.
#
# Three plain strategies on hourly bars of 2022 to 2024 show how differently costs bite:

# %% mystnb={"figure": {"caption": "From gross to net: the mean return a year of three plain strategies on hourly bars, 2022 to 2024, and what fees, slippage and funding took.", "name": "fig-backtest-waterfall"}, "image": {"alt": "Three panels of hanging bars. Buy and hold loses a little to funding and almost nothing to fees; momentum over a day starts just below zero and falls far below it through fees; momentum over thirty days starts high, loses about a quarter to fees and a smaller part to slippage and funding, and stays positive."}}
names = ("buy and hold", "momentum, a day", "momentum, 30 days")
fig, axes = plt.subplots(1, 3, figsize=(8, 3.2), layout="constrained")
for ax, name in zip(axes, names, strict=True):
    steps = dict(real["waterfall"][name]["in_turn"])
    del steps["interaction"]
    plots.waterfall(ax, steps)
    ax.set_title(name, fontsize=9)
    ax.tick_params(axis="x", rotation=40)
plt.show()

# %%
turn = {name: real["waterfall"][name]["in_turn"] for name in names}

# %%
assert turn["momentum, a day"]["fees"] < -0.5
assert turn["momentum, 30 days"]["net"] > 0.2
assert (
    turn["buy and hold"]["funding"]
    < 50 * turn["buy and hold"]["fees"]
    < 0
)

# %% [markdown]
# For a trader who trades daily, fees decide and funding cancels out, because she is long about as
# often as short. For a holder, it is the other way round. The rent of the holder looks small here,
# because it was paid out of cash while the number of coins stayed, so that the position grew larger
# than the equity behind it. That is leverage, which lifts the mean return, and the swings with it.
# Compounded, the holder's account grew by less:

# %%
held = real["metrics"]["buy and hold"]["annual_return"]
bare = results.load("se_real")["results"]["buy_and_hold"][
    "annual_return"
]
print(f"a year: {bare:.1%} without costs, {held:.1%} after them")

# %%
assert 0.03 < bare - held < 0.09

# %% [markdown]
# ### Our own order moves the price
#
# A backtest fills any size at the open, but a market does not. A large buyer pushes the price up
# while buying, and pays for this **impact** the more, the larger the order. Measurements in many
# markets agree on its shape {cite:p}`toth2011`, the **square-root law**:
#
# $$\text{impact} = Y\,\sigma\,\sqrt{Q / V}$$
#
# $Q$ is the order's value, $V$ the value that the market trades in a day, $\sigma$ the standard
# deviation of a day's return, and $Y$ a number near 1. We have no orders of our own to measure $Y$
# with, so this is an **assumption**, and what follows from it is an order of magnitude. Strictly
# the law says how far the price has moved when the order is done, and the mean fill is worse by
# less than that; we charge the whole. And it was measured on orders between about a thousandth and
# a tenth of a day: the first two below are smaller.

# %%
day = real["liquidity"]  # the median day's value in USDT, and sigma
value, sigma = day["day_value"] / 1e9, day["day_volatility"]
print(f"{value:.1f} billion USDT a day, sigma {sigma:.1%}")
for order in (1e4, 1e6, 1e8):
    by_hand = (
        1.0 * day["day_volatility"] * np.sqrt(order / day["day_value"])
    )
    assert np.isclose(by_hand, costs.impact(order, **day))
    print(f"an order of {order:>11,.0f} USDT: {1e4 * by_hand:5.1f} bps")

# %% [markdown]
# A hundred times the order costs ten times the impact on each coin, so an edge carries only so much
# money. How much follows from the law turned around.
#
# ```{prf:proposition} Capacity under the square-root law
# :label: prop-capacity
#
# Let a side of a trade earn the share $e > 0$ of its value before impact, and let the impact of an
# order of value $Q$ be $Y \sigma \sqrt{Q / V}$ with $Y, \sigma, V > 0$. The **capacity** of the
# rule, which is the order whose impact eats all that a side earns, is
#
# $$Q^* = V\,\Big(\frac{e}{Y \sigma}\Big)^2.$$
#
# An order of a quarter of that size loses half of the edge.
# ```
#
# ```{prf:proof}
# The equation $Y \sigma \sqrt{Q / V} = e$ has one solution, which is $Q^*$. At $Q^* / 4$ the root
# is half as large, and so the impact is $e / 2$.
# ```
#
# For momentum over 30 days:

# %%
rule = "momentum, 30 days"
edge = (
    real["waterfall"][rule]["in_turn"]["net"]
    / real["metrics"][rule]["turnover"]
)
most = costs.capacity(edge, **day)
assert np.isclose(
    most, day["day_value"] * (edge / day["day_volatility"]) ** 2
)
print(
    f"{1e4 * edge:.0f} bps a side are left; {most / 1e6:.0f} million "
    "USDT eat them"
)

# %% [markdown]
# The proposition is no better than the law that it assumes. And the edge is itself an estimate from
# three years of one market: if it were half as large, the capacity would be a quarter.
#
# ## 4 Stops and targets
#
# A **stop** closes a losing position at a fixed distance from its entry, and a **target** closes a
# winning one. A useful measure of distance is the average true range (ATR): the usual size of a
# bar, gaps included {cite:p}`wilder1978`. Here is a bar that starts at 100, with a stop at 95 and a
# target at 110. Its low is 94 and its high 112, so that it touches both. Which came first?
#
# A bar does not say, because it has four numbers and no order of events. So we assume the worse,
# that the stop came first, since anything else counts losses as wins.

# %%
# long, entry, distance, ratio
stop, target = risk.levels(1.0, 100.0, 5.0, 2.0)
reason, price = risk.exit_price(
    1.0, 100.0, 112.0, 94.0, stop, target, 0.0
)
print(stop, target, risk.REASONS[reason], price)

# %%
assert (risk.REASONS[reason], price) == ("stop", 95.0)

# %% [markdown]
# When the bar opens at 93, beyond the stop, nobody trades at 95, and so the fill is the open.

# %%
reason, price = risk.exit_price(
    1.0, 93.0, 97.0, 92.0, stop, target, 0.0
)
print(risk.REASONS[reason], price)

# %%
assert price == 93.0

# %% [markdown]
# Now we run momentum with a stop three ATR away and a target at twice that distance. After a stop
# the account stays flat until the rule changes its mind. In the ledger's column `reason`, `signal`
# is an exit by the rule itself, and `open` a position that is still held at the end.

# %%
guarded = backtest.run(
    bars, momentum, risk=Risk(stop_atr=3.0, take_profit=2.0)
)
counts = guarded.trades["reason"].value_counts()
print(counts.to_string())

# %%
assert counts["signal"] > 3 * (counts["stop"] + counts["target"])

# %% mystnb={"figure": {"caption": "Entries, exits and what lay between, on two days of real bars.", "name": "fig-backtest-trades"}, "image": {"alt": "Two days of 15-minute bitcoin candles with the trades of the guarded momentum rule: triangles mark entries, up for long and down for short, crosses mark exits, and dotted lines join them. Short-lived trades crowd where the rule keeps changing its mind; the long ways end at their targets."}}
shown = bars.iloc[1_200:1_392]
fig, ax = plt.subplots(figsize=(7.2, 4.0))
plots.trades_on_candles(ax, shown, guarded.trades)
plt.show()

# %%
inside = guarded.trades["entry_time"].between(
    shown.index[0], shown.index[-1]
)
ways = guarded.trades[inside]
assert len(ways) > 8 and (ways["reason"] == "target").sum() == 2
reached = guarded.trades[guarded.trades["reason"] == "stop"]

# %%
# every stop lost money, as it should
assert (reached["gross"] < 0).all()

# %% [markdown]
# ### A volatility target
#
# A position of 1 is not the same risk every day, because in a wild week it can swing several times
# as much as in a calm one. A **volatility target** turns that round: it holds less when the market
# is wild, so that the account swings about alike at all times {cite:p}`moreira2017`. For that it
# needs a forecast of volatility. The plainest is the recent past, with older moves counting less:
# after each **half-life**, a squared return counts half.

# %%
HALFLIFE, TARGET = 96, 0.30  # bars: one day; 30 % a year
squares = np.log(bars["close"]).diff() ** 2
keep = 0.5 ** (np.arange(len(bars))[::-1] / HALFLIFE)
keep[0] = 0.0  # the first bar has no return
newest = np.sqrt(
    (keep * squares.fillna(0.0)).sum() / keep.sum() * theirs.periods
)
print(
    f"forecast after the last bar {newest:.0%} a year, so hold "
    f"{TARGET / newest:.2f}"
)

# %%
sized = risk.by_volatility(
    np.ones(len(bars)), bars["close"], TARGET, theirs.periods,
    halflife=HALFLIFE,
)
assert np.isclose(sized[-1], TARGET / newest)
print(
    f"held between {sized[2 * HALFLIFE :].min():.2f} and "
    f"{sized.max():.2f}"
)

# %% [markdown]
# The forecast after bar $t$ uses closes up to $t$, and the engine fills at the open of $t + 1$, so
# nothing leaks. Trading on every flicker of the forecast would cost more than it helps, so we round
# the position to tenths, and trade when it moves by one.

# %%
calm = backtest.run(bars, np.round(sized, 1))
swing = {
    "all in": theirs.buy_and_hold.metrics(), "target": calm.metrics(),
}
for name, figures in swing.items():
    wild, turnover = figures["volatility"], figures["turnover"]
    print(f"{name:7} volatility {wild:.0%}, turnover {turnover:.0f}")

# %%
assert abs(swing["target"]["volatility"] - TARGET) < 0.02
assert swing["all in"]["volatility"] > 0.5

# %% [markdown]
# The target is met, at the price of some turnover. Does it also earn more for the risk? Over three
# years of hourly bars, at a target of 40 % and after all costs, it shows no gain:

# %%
pair = {
    name: real["metrics"][name]
    for name in ("buy and hold", "volatility target")
}
for name, figures in pair.items():
    ratio, fall = figures["sharpe"], figures["max_drawdown"]
    print(f"{name:17} Sharpe {ratio:.2f}, drawdown {fall:.0%}")

# %%
assert real["setting"]["target"] == 0.4
assert (
    pair["volatility target"]["sharpe"] < pair["buy and hold"]["sharpe"]
)
assert (
    pair["volatility target"]["max_drawdown"]
    > pair["buy and hold"]["max_drawdown"]
)

# %% [markdown]
# One more rule is not ours to choose. A trader who borrows to hold more than she owns is
# **liquidated** when too little is left, here when the equity falls to a fiftieth of the position's
# value (`max_leverage=50`). A position of 3 times the equity at 100 is gone near 68. The engine
# closes it there, so that the account never falls below zero.

# %%
falling = four.assign(
    open=[100, 100, 100, 60.0], high=[100, 100, 100, 60.0]
)
falling = falling.assign(
    low=[100, 100, 66, 60.0], close=[100, 100, 100, 60.0]
)
bold = Risk(max_position=3, max_leverage=50)
lost = backtest.run(falling, [3.0] * 4, costs=FREE, risk=bold)
print(
    lost.trades[["exit_price", "pnl", "reason"]]
    .round(3)
    .to_string(index=False)
)

# %%
assert abs(lost.trades["exit_price"][0] - 100 / 1.47) < 1e-9

# %% [markdown]
# ## 5 The figures, one by one
#
# Four daily returns are enough to compute everything by hand: +10 %, −5 %, +2 %, −1 %.

# %%
r = np.array([0.10, -0.05, 0.02, -0.01])
growth = 1.10 * 0.95 * 1.02 * 0.99
print(
    f"growth {growth:.4f}, mean {r.mean():.3f}, spread "
    f"{r.std(ddof=1):.4f}"
)

# %% [markdown]
# Crypto markets never close, so a year has 365 days, and $P$ bars a year is $365 \cdot 24 \cdot 60$
# over the minutes of a bar. Here $P = 365$.
#
# ```{prf:definition} Figures of an account
# :label: def-figures
#
# Let $r_1, \dots, r_n$ be the returns of $n \ge 2$ bars, none below a total loss, with mean
# $\bar r$ and sample standard deviation $s$. Let $E_0 > 0$ and $E_t = (1 + r_t)\,E_{t-1}$ be the
# equity, and $G = E_n / E_0$.
#
# - **Annual return**: the yearly rate that compounds to the same end, $G^{P/n} - 1$.
# - **Volatility**: $s \sqrt{P}$.
# - **Sharpe ratio** {cite:p}`sharpe1994`: $\sqrt{P}\; \bar r / s$ where $s > 0$; without a value
#   where $s = 0$.
# - **Sortino ratio** {cite:p}`sortino1994`: the same with the downside deviation
#   $\sqrt{\operatorname{mean}(\min(r, 0)^2)}$ in place of $s$. All returns count in that mean,
#   gains as zero.
# - **Maximum drawdown**: the deepest fall from a peak,
#   $\min_t \big(E_t / \max_{u \le t} E_u - 1\big)$, which is zero or negative.
# - **Calmar ratio**: annual return over the size of that fall.
# ```

# %%
downside = np.sqrt((0.05**2 + 0.01**2) / 4)
by_hand = {
    "annual_return": growth ** (365 / 4) - 1,
    "volatility": r.std(ddof=1) * np.sqrt(365),
    "sharpe": 0.015 / r.std(ddof=1) * np.sqrt(365),
    "sortino": 0.015 / downside * np.sqrt(365),
    "calmar": (growth ** (365 / 4) - 1) / 0.05,
    "max_drawdown": -0.05,
}
figures = metrics.from_returns(r, periods=365)
assert all(np.isclose(figures[name], by_hand[name]) for name in by_hand)
print(
    f"Sharpe {figures['sharpe']:.2f}, Sortino {figures['sortino']:.2f}"
)

# %% [markdown]
# Two figures come from the ledger, because they are about trades and not about bars. The **win
# rate** is the share of trades that earned more than zero; a trade that earned exactly nothing is a
# trade and no win. The **profit factor** is all gains over all losses.

# %%
profits = [10.0, -5.0, 20.0, -10.0]
print(metrics.win_rate(profits), metrics.profit_factor(profits))
assert metrics.profit_factor(profits) == (10 + 20) / (5 + 10)

# %% [markdown]
# **Turnover** is the value traded over the equity, a year: one round trip with all the money is 2.
# **Exposure** is the share of bars in which something was held. What has no answer is NaN: an
# account that never trades, or that grows by the same rate for ever, has no Sharpe ratio, because
# its returns do not vary. (We do not call it infinite, since infinity would win every comparison.)
# A ratio to losses is infinite where something was gained and nothing lost.
#
# ## 6 Judge the rule
#
# A strategy's figures mean little alone, because they do not say what we would have had for
# nothing. **Buy-and-hold** buys at the first open and keeps it. `Result.table` always shows it
# beside the strategy; `fees` and `funding` in it are sums over the whole span, as shares of the
# first equity.

# %%
table = theirs.table()
table.round(2)

# %% mystnb={"figure": {"caption": "Momentum against buy-and-hold, with the fall from the last peak underneath.", "name": "fig-backtest-equity"}, "image": {"alt": "Equity and drawdown from late September to late November 2021: buy-and-hold ends well above its start with a fall of about nineteen per cent in November, while momentum after costs sinks through most of the span and ends below its start."}}
fig, axes = plt.subplots(
    2, 1, figsize=(7.2, 4.8), sharex=True, height_ratios=(2, 1)
)
plots.equity_and_drawdown(
    *axes,
    {
        "momentum": theirs.equity,
        "buy and hold": theirs.buy_and_hold.equity,
    },
)
axes[1].set_xlabel("date, UTC")
plt.show()

# %%
fall = theirs.buy_and_hold.drawdown()
print(
    f"{fall.depth:.1%} from {fall.peak:%d %b} to {fall.trough:%d %b}, "
    "not recovered"
)

# %%
assert fall.recovery is None and theirs.equity.iloc[-1] < 1
assert theirs.buy_and_hold.equity.iloc[-1] > 1.2

# %% [markdown]
# Momentum loses in each of the three months, of which the two at the ends are incomplete.

# %% mystnb={"figure": {"caption": "Returns of the momentum rule in per cent, by month.", "name": "fig-backtest-months"}, "image": {"alt": "A table of one row, 2021, with returns of the momentum rule in September, October and November, all three negative; the other months are empty."}}
months = metrics.monthly_returns(theirs.equity)
fig, ax = plt.subplots(figsize=(7.2, 1.5))
plots.monthly_table(ax, months)
plt.show()

# %%
assert np.isclose((1 + months.stack()).prod(), theirs.equity.iloc[-1])
assert (months < 0).sum().sum() == months.notna().sum().sum() == 3

# %% [markdown]
# Is buy-and-hold's Sharpe ratio of almost 3 a fact about bitcoin? The sample has only 58 days. (The
# primer got a little more, from daily closes of the same days.) For independent returns, the
# standard error of a yearly Sharpe ratio is close to $\sqrt{1/\text{years}}$ {cite:p}`lo2002`.

# %%
years = (len(bars) - 1) / theirs.periods
error = np.sqrt(1 / years)
sharpe = table.loc["sharpe", "buy_and_hold"]
low, high = sharpe - 1.96 * error, sharpe + 1.96 * error
print(
    f"{365 * years:.0f} days: {sharpe:.1f}, 95 % interval {low:.1f} to "
    f"{high:.1f}"
)

# %%
assert low < 0 < high

# %% [markdown]
# The interval reaches from below zero to almost 8, so fifty-eight days cannot tell a good asset
# from a bad one, and much less a good rule. The SE chapter claims a Sharpe ratio of 1.84 against
# 1.21. At that distance only intervals can decide, and chapter {ref}`ch-honest-evaluation` computes
# them without the assumption that returns have no memory.
#
# ## 7 A sweep, and a warning
#
# Perhaps one day is the wrong lookback, so we let `run_many` try a whole grid in one call, on all
# cores. Each lookback gives a score, the move over so many bars; a threshold decides how far from
# zero the score must be. Costs are charged. We choose by the **first half** of the bars only.

# %%
scores = np.stack(
    [np.log(bars["close"]).diff(k).fillna(0.0) for k in LOOKBACKS]
)
grid = backtest.grid(series=range(len(LOOKBACKS)), threshold=THRESHOLDS)
half = len(bars) // 2
first = backtest.run_many(bars[:half], scores[:, :half], grid)
second = backtest.run_many(bars[half:], scores[:, half:], grid)
print(
    f"{len(grid)} settings, {(first['sharpe'] > 0).mean():.0%} above "
    "zero"
)

# %% mystnb={"figure": {"caption": "Sharpe ratio of every setting on the first half. The circle is the best one.", "name": "fig-backtest-sweep"}, "image": {"alt": "A heat map of Sharpe ratios over ten lookbacks and eleven thresholds on the first 29 days; short lookbacks with low thresholds are deeply negative, long lookbacks are mostly positive, and a circle marks the best setting."}}
best = first["sharpe"].idxmax()
square = first.pivot(
    index="series", columns="threshold", values="sharpe"
).to_numpy()
fig, ax = plt.subplots(figsize=(7.2, 4.2))
image = ax.imshow(
    square, cmap="PuOr", vmin=-12, vmax=12, aspect="auto",
    origin="lower",
)
row, column = divmod(best, len(THRESHOLDS))
ax.plot(column, row, "o", ms=16, mfc="none", mec="k")
ax.set_yticks(range(len(LOOKBACKS)), LOOKBACKS)
ax.set_xticks(
    range(len(THRESHOLDS)), [f"{100 * x:g}" for x in THRESHOLDS]
)
ax.set(xlabel="threshold in %", ylabel="lookback in bars")
ax.grid(False)
fig.colorbar(image, label="Sharpe ratio, a year")
plt.show()

# %%
pair = first["sharpe"][best], second["sharpe"][best]
rank = (second["sharpe"] > pair[1]).mean()
print(
    f"best setting: {pair[0]:.1f} on the first half, {pair[1]:.1f} on "
    "the second"
)
print(f"{rank:.0%} of all settings did better on the second half")

# %% [markdown]
# The map has a ridge at long lookbacks, and the best spot on it looks like a discovery. But it was
# chosen *because* it was high, and a part of its height is luck. The second half knows nothing of
# that luck, and there the sign turns, although most settings did worse still. The third exercise
# sweeps the same grid over shuffled bars, where there is nothing to find, and without costs its
# best setting looks better than ours. Remember that whenever you see only the first map.
#
# One call ran 110 backtests. The engine must be fast to make such maps, and to make the bootstraps
# that show how far they can be trusted. Its speed is compared here with that of vectorbt, a library
# for backtests on arrays, and of a plain Python loop. The ratios come from `make bench`, stored in
# `bench.json` for each processor that ran it, and the least of them is printed. All of them are for
# runs over 100,000 bars.

# %%
library = races.least("test_run_against_vectorbt", "vectorbt")
arrays = races.least("test_run_against_vectorbt", "vectorbt_arrays")
loop = races.least("test_run_against_a_plain_loop", "loop")
print("faster than vectorbt on a frame:", library)
print("faster than vectorbt on bare arrays:", arrays)
print("faster than a plain loop:", loop)
assert library.ratio > 100 and arrays.ratio > 10 and loop.ratio > 50
sets = max(
    races.ratios("test_a_thousand_parameter_sets", "seconds").values()
)
print(
    f"1,000 settings on 100,000 bars in one call: {sets:.1f} s at most"
)

# %% [markdown]
# ## What goes wrong
#
# Here is a rule that turns 1 into a fortune. It follows the last bar: long when that bar rose,
# short when it fell. The backtest is one line of pandas.

# %%
change = bars["close"].pct_change().fillna(0.0)
follow = np.sign(change)
wonderful = (1 + follow * change).cumprod()
print(f"1 becomes {wonderful.iloc[-1]:,.0f} in 58 days")

# %%
assert wonderful.iloc[-1] > 100_000

# %% [markdown]
# The line multiplies each bar's return with a position that was read off *that same bar*. The rule
# decides at a close and fills at the close before, which nobody can do. The smallest fix shifts the
# position by one bar, which fills at the close that decided. The engine fills at the next open, and
# a typical open of these bars lies 5 bps away from the close before. Over thousands of trades even
# that adds up.

# %%
shifted = (1 + follow.shift(fill_value=0.0) * change).cumprod()
honest = backtest.run(bars, follow, costs=FREE)
print(
    f"shifted {shifted.iloc[-1]:.2f}, next open "
    f"{honest.equity.iloc[-1]:.2f}"
)
away = (bars["open"] / bars["close"].shift() - 1).abs().mean()
print(
    f"{len(honest.trades):,} trades, {1e4 * away:.0f} bps from close "
    "to open"
)

# %%
assert shifted.iloc[-1] < 1 and honest.equity.iloc[-1] < 1

# %% mystnb={"figure": {"caption": "The same rule, filled before it decides and after. The scale is logarithmic.", "name": "fig-backtest-leak"}, "image": {"alt": "On a logarithmic scale the leaking backtest climbs in a straight line from 1 to above one hundred thousand, while the honest one, filled at the next open, stays near 1 and ends below it."}}
fig, ax = plt.subplots()
ax.semilogy(
    wonderful.index, wonderful, "--", label="filled before it decides"
)
ax.semilogy(
    honest.equity.index, honest.equity, label="filled at the next open"
)
ax.set(xlabel="date, UTC", ylabel="equity, start = 1")
ax.legend()
plt.show()

# %% [markdown]
# A straight line on a logarithmic scale is typical of a leak, because it earns on almost every bar.
# The best protection is a test that no such leak passes: alter the bars from $t$ on, in two ways,
# and what is *held in* bar $t$ must be the same both times, because it was decided before. (It is
# not enough that the account up to the bar before is the same. That holds for this leak too, which
# looks no further than its own bar.)

# %%
cut = 3_000


def decided(factor):
    """Bars, moved up or down from the cut on, and the rule's sides."""
    other = bars.copy()
    other.iloc[cut:, :4] *= factor
    return other, np.sign(other["close"].pct_change().fillna(0.0))


(rising, up), (falling, down) = decided(1.05), decided(0.95)

# %%
assert up.iloc[cut] != down.iloc[cut]  # held in its own bar: a leak
assert up.shift().iloc[cut] == down.shift().iloc[cut]  # none
runs = [backtest.run(*of) for of in ((rising, up), (falling, down))]
sides = [float(np.sign(run.units.iloc[cut])) for run in runs]
print("the engine holds in that bar:", sides)
assert sides[0] == sides[1] != 0

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* One may think of an account as a till, in which only closed trades count as money,
# and of each cost as a toll that a rule pays as often as it passes. These are pictures, and prove
# nothing.
#
# *Proved.* Which figure an account has follows from {prf:ref}`def-cash-equity` and
# {prf:ref}`def-figures`, and how much money an edge carries from the square-root law by
# {prf:ref}`prop-capacity`. Costs that are charged one after the other add up by construction.
#
# *Measured here.* On one short sample of real bars, momentum over a day gained before costs and
# lost after them. On three years of real hourly bars fees were the largest cost of the rule that
# trades often, and funding that of the holder, while with a volatility target the drawdown of these
# years was smaller and the Sharpe ratio about that of holding, for which no interval was computed.
#
# *Open.* The impact of our own orders was never measured, so that its coefficient is assumed. Bars
# do not show whether a stop or a target came first. Other years and markets may charge otherwise.
# ```
#
# ## Summary
#
# - A decision after bar $t$ fills at the open of bar $t + 1$, and its size leaves room for its fee.
# - Equity is cash plus unrealised profit, and the ledger's profits add up to the change of equity.
# - A busy rule pays more than it earns: on the short sample daily momentum gained before costs and
#   lost after them; over three years it lost before them too.
# - Charge costs one by one: fees decide for a trader who trades often, funding for one who holds.
# - Impact grows with the root of the order, so every edge has a capacity. The law is an assumption.
# - A bar that touches stop and target counts as stopped, and a gap through a stop fills at the
#   open.
# - Figures need a fixed convention (365 days, all returns in the downside) and an interval.
# - The best of many settings is chosen for its luck too, so look at it on bars it has not seen.
#
# ## Exercises
#
# ```{exercise} A short by hand ★
# :label: ex-backtest-short
# Start with 100 dollars and no costs. Be short with all of it from the open of bar 1 at 100. The
# price opens at 80 on bar 3, where you close. What is the equity, and what would a long have left?
# Check both with `backtest.run`.
# ```
#
# ```{solution-start} ex-backtest-short
# :class: dropdown
# ```

# %%
fell = four.assign(open=[100, 100, 90, 80.0], high=[100, 100, 90, 80.0])
fell = fell.assign(low=fell["open"], close=fell["open"])
for side, by_pencil in ((-1, 120.0), (1, 80.0)):
    run = backtest.run(
        fell, [side, side, 0, 0], costs=FREE, equity=100.0
    )
    assert np.isclose(run.equity.iloc[-1], by_pencil)

# %% [markdown]
# ```{solution-end}
# ```
#
# <!-- number: 15 by the minutes of a bar -->
# ```{exercise} A Sharpe ratio a hundred times too good ★
# :label: ex-backtest-units
# Somebody divides the mean return in per cent by the standard deviation as a fraction, and
# takes 252 days. By which factor is her Sharpe ratio of 15-minute returns wrong?
# ```
#
# ```{solution-start} ex-backtest-units
# :class: dropdown
# ```

# %%
x = metrics.returns(theirs.equity)
hers = 100 * x.mean() / x.std(ddof=1) * np.sqrt(252)
factor = hers / metrics.sharpe(x, theirs.periods)
# 100 for the units, √(252 / 35,040) for the year
print(f"{factor:.2f}")

# %%
assert np.isclose(factor, 100 * np.sqrt(252 / 35_040))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The best of nothing ★★
# :label: ex-backtest-noise
# Shuffle the bars of the sample in time, so that no lookback can mean anything. Sweep the same
# grid, without costs, over the first half's length. How high is the best Sharpe ratio?
# ```
#
# ```{solution-start} ex-backtest-noise
# :class: dropdown
# ```


# %%
def shuffled(bars, seed):
    """Return bars whose moves from the close before come in random
    order."""
    logs = np.log(bars[["open", "high", "low", "close"]])
    moves = (
        logs.sub(logs["close"].shift(), axis=0).fillna(0.0).to_numpy()
    )
    moves = np.random.default_rng(seed).permutation(moves)
    before = np.r_[0.0, moves[:-1, 3].cumsum()]
    prices = 40_000 * np.exp(moves + before[:, None])
    return pd.DataFrame(prices, bars.index, logs.columns).assign(
        volume=1.0
    )


# %%
highest = []
for seed in range(20):
    walk = shuffled(bars[:half], seed)
    noise = [
        np.log(walk["close"]).diff(k).fillna(0.0) for k in LOOKBACKS
    ]
    tried = backtest.run_many(walk, np.stack(noise), grid, costs=FREE)
    highest.append(tried["sharpe"].max())
print(
    f"best of {len(grid)} on noise: median Sharpe "
    f"{np.median(highest):.1f}"
)

# %%
# without costs, but on nothing at all
assert np.median(highest) > pair[0]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The cost of your own trades ★★★
# :label: ex-backtest-own
# Take the last twenty trades of an account, yours or on paper, with the times at which they were
# decided and at which they were filled. Rebuild them as target positions on bars and run them through
# `backtest.run`. Where do the account and the engine part, trade by trade?
# ```
#
# ```{solution} ex-backtest-own
# :class: dropdown
# The engine fills at the next open, so the first difference is the price of each fill, and its mean
# over the trades is your slippage against that rule, with a sign. The second is the fee, which
# depends on maker and taker. The third is funding, which a backtest without it leaves out. If the
# three do not explain the whole difference, look for partial fills and for decisions that in truth
# were made after the bar they are dated by.
# ```
#
# ## Further reading
#
# The Sharpe ratio is explained in its author's own words in {cite:p}`sharpe1994`, its standard
# error in {cite:p}`lo2002`, and the downside deviation in {cite:p}`sortino1994`. How a search over
# settings inflates the best result, and what to do about it, is the subject of
# {cite:p}`bailey2014`.
