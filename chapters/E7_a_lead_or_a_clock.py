# %% [markdown]
# (ch-evening-7)=
# # An evening: a lead or a clock
#
# **Four coins seem to follow a fifth: which of them do, and which only in the data?**
#
# ```{admonition} What you will do
# :class: tip
# - find four leads that no test of this part doubts, and a backtest that earns money with each
# - prove of one true lead and one false one that no look at their prices can tell them apart
# - read a venue's clock from its volumes in two ways, of which the obvious one is wrong
# - ask at which prices somebody would have traded, and send orders on paper to see who was right
# ```
#
# *You need* {ref}`ch-cross-market`, and {ref}`ch-backtesting` for what a trade costs.
# *Runs* in under 40 s on two cores; the evening is yours.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import t as student

from setrade import backtest, candles, evidence, panel
from setrade.costs import FREE, Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
DAYS, LATER = 40, 60  # recorded, and traded on paper after them
SEED = 7
# minutes of the late kinds; what the slow kind makes up in a minute
LATE, PART = 5, 0.2
TRADES = 0.2  # chance a minute that the rare kind trades
BIG = 50 / 1e4  # a move of the leader that is worth an order
LEVEL = 0.05

# %% [markdown]
# ## Why it is worth an evening
#
# A lead is the most tempting thing that two price series can show, because it says what to buy and
# when. It is also what you see when nothing leads and the data are slightly spoiled: a recorder's
# clock is wrong, or a price is old. {ref}`ch-cross-market` gave two rules against that. The highest
# correlation belongs at lag 0, and a lead made by rare trades fades as the bars get longer. Tonight
# both rules say the same of true leads and of false ones. What helps instead is knowledge that is
# not in the prices, and you find two pieces of it.

# %% [markdown]
# ## What is given
#
# One coin, the `leader`, and five others were recorded minute by minute for `DAYS` days. Each of the
# five moves with the leader, plus a part of its own, and each is of another kind:
#
# | kind | its true price | its record |
# |---|---|---|
# | `late` | repeats each move of the leader after five minutes | true |
# | `slow` | makes up a fifth of its distance to the leader each minute | true |
# | `clock` | moves with the leader at once | the recorder's clock stamps all five minutes late |
# | `rare` | moves with the leader at once | trades in one minute of five, else shows its last price |
# | `none` | moves with the leader at once | true |
#
# A recorder is the program that writes trades down and puts a time on each. The names of the coins
# are dealt by a generator, so that no cell below tells you which is which. In a minute without a
# trade the bar is flat and its volume is 0. Volume is drawn at random, but it has two habits. It is
# higher in minutes in which the coin itself moves far, and there is a burst at the start of each hour,
# as if many programs traded by the clock.

# %%
WORLD = candles.synthetic(
    (DAYS + LATER) * 24 * 60, seed=SEED, interval="1min"
).candles
KINDS = ("late", "slow", "clock", "rare", "none")

# %%
rng = np.random.default_rng(SEED)
names = rng.permutation(["ash", "elm", "fir", "oak", "yew"]).tolist()
coin_of = dict(zip(KINDS, names, strict=True))

# %% [markdown]
# The leader is a synthetic market, each move of which is turned upside down at random, so that its
# past says nothing of its own future. To work with **your own bars**, put
# `candles.read("mine.parquet", "1min")` in place of `candles.synthetic(...).candles`. The five
# coins are then planted around your market, whose moves are turned in the same way, and its first
# `DAYS` days are the record. Set `BIG` to about two standard deviations of its return in 15
# minutes, as it is here. It takes `DAYS + LATER` days of minutes without a gap. The checks of steps
# 1, 3 and 4 should hold for them too; those in basis points and Sharpe ratios are made for a market
# that moves as much as this one.

# %%
move = np.log(WORLD["close"]).diff().fillna(0.0).to_numpy()
move = move * rng.choice([-1, 1], len(move))
path = move.cumsum()  # the leader's log price


# %%
def later(x, minutes):
    """Return a series that is so many minutes late."""
    return np.r_[np.full(minutes, x[0]), x[:-minutes]]


# %%
def true_price(kind):
    """Return the log price at which a coin would really trade."""
    own = 0.6 * move.std() * rng.normal(size=len(path)).cumsum()
    if kind == "late":
        return later(path, LATE) + own
    if kind == "slow":
        near = pd.Series(path).ewm(alpha=PART, adjust=False).mean()
        return near.to_numpy() + own
    return path + own


# %%
def true_volume(price):
    """Return volumes that answer a coin's own moves and the hour."""
    size = abs(np.diff(price, prepend=price[0]))
    minute = WORLD.index.minute.to_numpy()
    hour = np.array([4, 2.5, 1.5])[np.minimum(minute, 2)]
    hour = np.where(minute < 3, hour, 1.0)
    luck = rng.lognormal(size=len(price))
    return 100 * hour * (1 + 3 * size / size.mean()) * luck


# %%
def recorded(price, volume, opened):
    """Return candles of one minute."""
    bars = 100 * np.exp(pd.DataFrame({"open": opened, "close": price}))
    bars["high"] = bars[["open", "close"]].max(axis=1)
    bars["low"] = bars[["open", "close"]].min(axis=1)
    bars["volume"] = volume
    order = ["open", "high", "low", "close", "volume"]
    return bars.set_index(WORLD.index)[order]


# %%
def made(kind):
    """Return a coin's record, and the prices orders would get."""
    price = true_price(kind)
    volume, opened = true_volume(price), later(price, 1)
    if kind == "rare":
        trades = rng.random(len(price)) < TRADES
        trades[0] = True
        volume = np.where(trades, volume, 0.0)
        price = pd.Series(price).where(trades).ffill().to_numpy()
        opened = price  # one trade is its bar's open and its close
    truth = recorded(price, volume, opened)
    if kind == "clock":
        price, volume, opened = (
            later(x, LATE) for x in (price, volume, opened)
        )
    return recorded(price, volume, opened), truth


# %%
both = {coin_of[kind]: made(kind) for kind in KINDS}

# %%
all_days = recorded(path, true_volume(path), later(path, 1))
leader, live = all_days.iloc[: DAYS * 1440], all_days[DAYS * 1440 :]
coins = {
    name: both[name][0].iloc[: DAYS * 1440] for name in sorted(both)
}

# %% [markdown]
# `coins` holds the five records by name. Two more helpers are given: the returns of bars of any
# length, and, for step 6 alone, an account on paper for the `LATER` days after the record. There
# `live` holds the leader's bars, and an order gets the price of the first trade after it was sent,
# by a clock on the wall that is right. The account knows what really happened, as the market
# will when you send it an order.


# %%
def returns(frame, step="15min"):
    """Return the log returns of bars of a length."""
    close = candles.resample(frame, step)["close"]
    return np.log(close).diff().iloc[1:]


# %%
def paper(name, sent):
    """Return the prices that orders sent at these times get."""
    truth = both[name][1]
    first = truth["open"].where(truth["volume"] > 0).bfill()
    return first.loc[sent].to_numpy()


# %% [markdown]
# ## Step 1: four leads
#
# ```{exercise} Who follows?
# :label: ex-evening-7-1
# Correlate the leader's return of each bar of 15 minutes with the return of each coin one to four
# bars later and one to four bars earlier. Count days as the independent ones, and correct the
# p-values for all 40 tests by Holm's rule. Call the coins that follow `found`: a dict with the
# correlation one bar later by name, for those whose corrected p-value at any positive lag lies
# below `LEVEL`. Does any coin move *before* the leader?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# Bring both returns to mean 0 and spread 1. The correlation at a lag is the mean of their products,
# and `panel.clustered_mean(products, days)` gives it with an error, from which
# `student.sf(abs(mean / error), clusters - 1)` makes half a p-value.
# ```


# %%
def check_1(found):
    """Hold the followers against what was planted."""
    assert set(found) == set(coins) - {coin_of["none"]}
    assert all(0.1 < value < 0.4 for value in found.values())


# %% [markdown]
# ```{solution-start} ex-evening-7-1
# :class: dropdown
# ```


# %%
def unit(x):
    """Return a series with mean 0 and spread 1."""
    return (x - x.mean()) / x.std()


# %%
def tested(first, second, lag):
    """Return a correlation at a lag and its p-value by days."""
    product = (unit(first) * unit(second).shift(-lag)).dropna()
    day = (product.index - leader.index[0]).days
    told = panel.clustered_mean(product.to_numpy(), day.to_numpy())
    half = student.sf(abs(told.mean / told.error), told.clusters - 1)
    return told.mean, 2 * half


# %%
r = returns(leader)
moves = {name: returns(frame) for name, frame in coins.items()}
lags = [lag for lag in range(-4, 5) if lag != 0]

# %%
rows = [
    (name, lag, *tested(r, moves[name], lag))
    for name in coins
    for lag in lags
]

# %%
table = pd.DataFrame(rows, columns=["coin", "lag", "value", "p"])
table["p"] = evidence.holm(table["p"].to_numpy())

# %%
small = table[table["p"] < LEVEL]
for row in small.itertuples():
    shown = f"{row.value:.2f}, p {row.p:.0e}"
    print(f"{row.coin}, lag {row.lag:+d}: {shown}")

# %%
found = {
    row.coin: row.value for row in small.itertuples() if row.lag > 0
}

# %%
check_1(found)
assert len(table) == 40 and (small["lag"] == 1).all()
assert small["p"].max() < 1e-6

# %% [markdown]
# All four follow by one bar, and no coin moves before the leader. The p-values say that chance
# does not make such correlations, and they are right: the correlations are there, in the records.
# How they came there is a question that a p-value was never asked.
#
# ```{solution-end}
# ```
#
# ## Step 2: and all four pay
#
# ```{exercise} Money by the stamps
# :label: ex-evening-7-2
# Play each coin on its own bars of 15 minutes. After a bar in which the leader moved by more than
# `BIG`, hold the coin for the next bar in the leader's direction, and hold nothing otherwise. Call
# the table of Sharpe ratios `money`, with a row a coin and the columns `free` and `paid`, for no
# costs and for those of a taker. Which of the five would you trade?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `backtest.run(bars, position, costs=FREE).metrics()["sharpe"]`, and `Costs()` for a taker. The
# position needs a value for every bar, so `reindex` it.
# ```


# %%
def check_2(money):
    """Hold the Sharpe ratios against what the record allows."""
    follow = money.drop(coin_of["none"])
    assert (follow > 0).all(axis=None)
    assert (follow["free"] > 10).all()
    assert money.loc[coin_of["none"], "paid"] < 0


# %% [markdown]
# ```{solution-start} ex-evening-7-2
# :class: dropdown
# ```


# %%
def played(frame, costs):
    """Return the Sharpe ratio of following the leader's big moves."""
    bars = candles.resample(frame, "15min")
    side = np.sign(r).where(abs(r) > BIG, 0.0)
    side = side.reindex(bars.index).fillna(0.0)
    return backtest.run(bars, side, costs=costs).metrics()["sharpe"]


# %%
money = pd.DataFrame(
    {
        name: [played(frame, costs) for costs in (FREE, Costs())]
        for name, frame in coins.items()
    },
    index=["free", "paid"],
).T
money.round(1)

# %%
check_2(money)
first_two = money["paid"].nlargest(2)
assert set(first_two.index) == {coin_of["late"], coin_of["clock"]}
assert first_two.max() - first_two.min() < 2
assert 1.8 < BIG / r.std() < 2.2

# %% [markdown]
# All four followers come out above zero even for a taker, one of them barely, and the fifth coin
# loses. By this table you would trade two of them first, which are equal to the eye. It is tempting
# to distrust them because they are too good, since {ref}`ch-cross-market` calls a ratio of 2 admired.
# But being too good is no proof, and in this world at least two coins follow the leader truly. The
# backtest cannot say which, because it takes both the stamps and the prices of the record for what
# they claim to be.
#
# ```{solution-end}
# ```
#
# ## Step 3: the two rules of the chapter
#
# ```{exercise} The highest bar, and longer bars
# :label: ex-evening-7-3
# Apply both rules to the four followers. At which lag does the highest correlation stand in bars of
# 15 minutes? Call the lags `highest`, by name. How does the correlation one bar later go when the
# bars are of 5, 15 and 60 minutes? Call the table `fades`, with a row a coin and these columns.
# Then draw the correlations at lags of 0 to 15 minutes in bars of *one* minute, and divide
# each by their sum. Which coins have the same shape? Call the pairs `twins`, a list
# of two pairs of names. Can any test on prices tell `late` from `clock`?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `panel.lead_lag(first, second, 15)` gives all lags at once. For the last question, write down what
# the record of `clock` is, in terms of the leader's path and of the coin's own part, and
# compare it with the price of `late`.
# ```


# %%
def check_3(highest, fades, twins):
    """Hold the rules and the pairs against what was planted."""
    assert set(highest.values()) == {0}
    assert (fades[60] < fades[15] - 0.05).all()
    assert {frozenset(pair) for pair in twins} == {
        frozenset((coin_of["late"], coin_of["clock"])),
        frozenset((coin_of["slow"], coin_of["rare"])),
    }


# %% [markdown]
# ```{solution-start} ex-evening-7-3
# :class: dropdown
# ```

# %%
highest = {
    name: int(panel.lead_lag(r, moves[name], 4).idxmax())
    for name in found
}


# %%
def by_lag(minutes, most):
    """Return the correlations at lags from 0 on, a column a coin."""
    step = f"{minutes}min"
    first = returns(leader, step)
    out = {
        name: panel.lead_lag(first, returns(coins[name], step), most)
        for name in found
    }
    return pd.DataFrame(out).loc[0:]


# %%
fades = pd.DataFrame({m: by_lag(m, 1).loc[1] for m in (5, 15, 60)})

# %%
print("highest at lag", highest)
fades.round(2)

# %%
shapes = by_lag(1, 15)
shapes = shapes / shapes.sum()

# %% mystnb={"figure": {"caption": "Correlation with the leader so many minutes later, in bars of one minute, as a share of the sum: four followers, two shapes.", "name": "fig-evening-seven-shapes"}, "image": {"alt": "Four lines over 0 to 15 minutes that look like two. Two lie on each other with one peak of height one at five minutes and zero elsewhere. The other two begin at a fifth at zero minutes and fall evenly towards zero."}}
marks = dict(zip(sorted(found), ("o", "s", "D", "X"), strict=True))
fig, ax = plt.subplots(figsize=(7.0, 3.0))
for name, mark in marks.items():
    ax.plot(shapes[name], mark + "-", ms=5, lw=1, label=name)
ax.set(xlabel="minutes later", ylabel="share of the correlation")
ax.legend()
plt.show()

# %%
one, rest = sorted(found)[0], sorted(found)[1:]
apart = {name: abs(shapes[one] - shapes[name]).max() for name in rest}
other = min(apart, key=apart.get)
twins = [(one, other), tuple(n for n in rest if n != other)]
print("twins:", twins)

# %%
check_3(highest, fades, twins)
assert all(
    abs(shapes[a] - shapes[b]).max() < 0.06 for a, b in twins
)

# %% [markdown]
# The first rule lets all four pass. Where the lag is five minutes, ten of the 15 minutes are common
# to bars of one number, and the highest correlation stays at lag 0. The second rule dismisses all
# four, because each lead fades in longer bars. A true lead fades as well, since five minutes are
# still five minutes when the bar has 60. So neither rule parts the true from the false. The first
# was made for a clock that is off by a whole bar, and the second says only that a lead is short.
#
# Worse, no cleverer rule exists for one of the pairs. Write $L_t$ for the leader's path and $W_t$ for
# a coin's own part. The price of `late` is $L_{t-5} + W_t$. The recorder of `clock` writes at $t$
# what was true at $t-5$, which is $L_{t-5} + W_{t-5}$. The own part does not depend on the leader, and
# its moves are drawn alike in every minute, so $W_{t-5}$ and $W_t$ look the same to whoever does not
# know either. **Whatever you compute from the moves of the two prices, in bars of any length, has the
# same distribution for the true lead and for the wrong clock.** More days would not help.
#
# The other twins share their correlations with the leader, and nothing more. `slow` makes up a fifth
# of the rest each minute, and `rare` has a chance of one fifth to trade. What is still missing after
# $k$ minutes is $0.8^k$ in both. You see at once which of them is rare, by its flat minutes. But that
# does not answer the question, because a coin that trades rarely may follow as well.
#
# ```{solution-end}
# ```
#
# ## Step 4: two clocks
#
# ```{exercise} What does the volume say?
# :label: ex-evening-7-4
# A clock that is wrong moves all that it stamps, and so the volume too. Read the clock of each
# follower in two ways. First, at which lag, up to 10 minutes either way, does the logarithm of
# one plus its volume correlate best with the leader's? Second, at which minute of the hour is its
# mean volume highest, less the minute at which the leader's is? Call the two dicts
# `by_volume` and `by_hour`. They disagree about one coin: which of them is right, and why? Then set
# the one wrong clock right, call the coin's mended record `mended`, and call the correlation with
# the leader one bar of 15 minutes later `left`.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `frame.index.minute` is the minute of the hour, and `frame.shift(freq="-5min")` moves stamps. What
# makes volume high, apart from the hour?
# ```


# %%
def check_4(by_volume, by_hour, mended, left):
    """Hold what two clocks say against what was planted."""
    wrong = coin_of["clock"]
    assert by_hour == {name: LATE * (name == wrong) for name in found}
    assert by_volume[wrong] == by_volume[coin_of["late"]] == LATE
    truth = both[wrong][1]["close"].reindex(mended.index)
    assert np.allclose(mended["close"].iloc[10:], truth.iloc[10:])
    assert abs(left) < 0.08


# %% [markdown]
# ```{solution-start} ex-evening-7-4
# :class: dropdown
# ```


# %%
def busiest(frame):
    """Return the minute of the hour with the highest mean volume."""
    volume = frame["volume"]
    return int(volume.groupby(frame.index.minute).mean().idxmax())


# %%
loud = {
    name: np.log1p(frame["volume"])
    for name, frame in {"leader": leader, **coins}.items()
}
by_volume = {
    name: int(panel.lead_lag(loud["leader"], loud[name], 10).idxmax())
    for name in found
}

# %%
by_hour = {
    name: busiest(coins[name]) - busiest(leader) for name in found
}
print("by volume:", by_volume)
print("by the hour:", by_hour)

# %%
(wrong,) = (name for name, minutes in by_hour.items() if minutes != 0)
back = f"{-by_hour[wrong]}min"
mended = coins[wrong].shift(freq=back)
left, p = tested(r, returns(mended), 1)
print(f"{wrong}, set right: {left:+.2f} one bar later, p {p:.2f}")

# %% mystnb={"figure": {"caption": "Mean volume of each follower by minute of the hour, over that of its median minute.", "name": "fig-evening-seven-hour"}, "image": {"alt": "Four lines over the first minutes of the hour. Three begin at four to five times the median at minute 0 and fall to nearly one by minute 3. The fourth, yew, is flat until minute 4, jumps to nearly four at minute 5 and falls to one by minute 8."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
for name, mark in marks.items():
    volume = coins[name]["volume"]
    mean = volume.groupby(volume.index.minute).mean()
    mean = mean / mean.median()
    ax.plot(mean.loc[:15], mark + "-", ms=5, lw=1, label=name)
ax.set(xlabel="minute of the hour", ylabel="volume over the median")
ax.legend()
plt.show()

# %%
check_4(by_volume, by_hour, mended, left)
(twin,) = (set(pair) - {wrong} for pair in twins if wrong in pair)
spoiled = coins[twin.pop()].shift(freq=back)
assert p > LEVEL and abs(tested(r, returns(spoiled), 1)[0]) < 0.08

# %% [markdown]
# By the lag of the volume two clocks are five minutes late, and by the hour only one is. The hour is
# right. Volume has two causes here. The burst comes when the hour strikes, for all coins at once and
# whatever the prices do. But volume also answers the coin's own moves, and where a coin truly follows
# the leader, these moves come five minutes later and their volume comes with them. **Only what
# happens by the clock on the wall can tell whether a clock is wrong.** What answers the price repeats
# what the price has said. (Where moves are larger as the hour strikes, they carry the clock as well.
# Here they are not.)
#
# Set right, the coin's lead is gone. Do not take that for the proof. Set its twin back by five minutes
# as well, and its lead is gone too, although its clock was right: the assert in the cell above says
# so. Whoever moves records until the highest bar stands at lag 0 removes the true leads with the
# false ones.
#
# ```{solution-end}
# ```
#
# ## Step 5: a price that somebody offered
#
# ```{exercise} The first trade after
# :label: ex-evening-7-5
# Now to the other pair. For each of the leader's moves beyond `BIG`, an order is sent when the bar
# closes, and the coin is sold (or bought back) 15 minutes later. Compute in
# basis points what a trade earns before costs in two ways. In the first, both orders get the open
# of the minute in which they are sent, whether anybody trades in it or not. In the second they
# get the open of the first minute from then on that has a volume. Put an interval around each
# mean that counts days, and call the results of `panel.clustered_mean` `stamps` and `traded`, by
# name, for all five records as they are. Which coin changes, and does the instrument of step 4 see it?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# A bar is stamped with its open, so it closes 15 minutes after its stamp.
# `frame["open"].where(frame["volume"] > 0).bfill()` is the second price for every minute.
# ```


# %%
def check_5(stamps, traded):
    """Hold the means against what was planted, with slack."""
    for kind in ("late", "slow", "clock"):
        name = coin_of[kind]
        assert abs(traded[name].mean - stamps[name].mean) < 6
        assert traded[name].mean > 9
    rare = coin_of["rare"]
    assert stamps[rare].mean > 9 > 6 > abs(traded[rare].mean)


# %% [markdown]
# ```{solution-start} ex-evening-7-5
# :class: dropdown
# ```


# %%
HOLD = pd.Timedelta("15min")


def orders(bars):
    """Return the sides of the leader's big moves by the time at
    which an order is sent."""
    move = returns(bars)
    move = move[abs(move) > BIG]
    side = pd.Series(np.sign(move.to_numpy()), move.index + HOLD)
    return side[side.index + HOLD <= bars.index[-1]]


# %%
def earned(side, bought, sold):
    """Return what a trade earns in basis points, by days."""
    gain = 1e4 * side * np.log(np.asarray(sold) / np.asarray(bought))
    day = (side.index - WORLD.index[0]).days
    return panel.clustered_mean(gain.to_numpy(), day.to_numpy())


# %%
side = orders(leader)
sent, closed = side.index, side.index + HOLD
stamps, traded = {}, {}
for name, frame in coins.items():
    price = frame["open"]
    first = price.where(frame["volume"] > 0).bfill()
    stamps[name] = earned(side, price[sent], price[closed])
    traded[name] = earned(side, first[sent], first[closed])

# %%
print(f"{len(side)} trades; basis points a trade, before costs")
for name in coins:
    low, high = traded[name].interval()
    print(
        f"{name}: by the stamps {stamps[name].mean:5.1f}, at the next "
        f"trade {traded[name].mean:5.1f} ({low:.1f} to {high:.1f})"
    )

# %%
check_5(stamps, traded)
rare = min(
    coins, key=lambda name: traded[name].mean - stamps[name].mean
)
silent = (coins[rare]["volume"][sent] == 0).mean()
low, high = traded[rare].interval()

# %%
assert 0.7 < silent < 0.9 and low < 0 < high
assert by_hour[rare] == 0

# %% [markdown]
# One coin changes. In about four of five cases nobody traded in the minute in which the order was
# sent, so the open at which the backtest bought was a copy of an old price. The first trade after it
# already knows the leader's move, and nothing is left that its interval could tell from zero.
#
# The hour had said nothing against this coin, since its stamps are right. And the coin with the wrong
# clock passes the test of this step, because it trades in every minute: its prices are those of real
# trades, which took place five minutes before their stamps. **Each instrument convicts one false lead
# and lets the other pass**, so that a record has to go through both.
#
# ```{solution-end}
# ```
#
# ## Step 6: send orders
#
# ```{exercise} The verdict
# :label: ex-evening-7-6
# Write down which coins you now hold for true followers, as a set `true`. Then send the same orders on
# paper in the `LATER` days, by `live` and `paper`, and call the results of `panel.clustered_mean`
# `paid`, by name. What does a trade cost a taker who goes in and out? Which true follower is worth
# trading, and what had `none` been good for?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# One side costs `Costs().fee_bps + Costs().slippage_bps`. Compare intervals, not means.
# ```


# %%
def check_6(true, paid):
    """Hold the verdict against the truth, and paper against both."""
    assert set(true) == {coin_of["late"], coin_of["slow"]}
    for name, told in paid.items():
        low, high = told.interval()
        assert (low > 5) == (name in true), name
        assert name in true or high < 10, name


# %% [markdown]
# ```{solution-start} ex-evening-7-6
# :class: dropdown
# ```

# %%
true = {
    name
    for name in found
    if by_hour[name] == 0 and traded[name].interval()[0] > 0
}

# %%
cost = 2 * (Costs().fee_bps + Costs().slippage_bps)
side = orders(live)
paid = {
    name: earned(
        side, paper(name, side.index), paper(name, side.index + HOLD)
    )
    for name in coins
}

# %%
print(f"{len(side)} trades on paper; a trade costs {cost:.0f}")
for name, told in paid.items():
    low, high = told.interval()
    print(f"{name}: {told.mean:5.1f} ({low:.1f} to {high:.1f})")

# %% mystnb={"figure": {"caption": "What a trade earns in basis points before costs, with 95 % intervals that count days.", "name": "fig-evening-seven"}, "image": {"alt": "Three points with intervals for each of five coins. For ash and fir all three lie above ten. For elm only the first does, for yew the first two, and the points on paper lie at zero. For oak all lie near zero. A dotted line of the costs stands at 13."}}
fig, ax = plt.subplots(figsize=(7.0, 3.2))
ways = {
    "by the stamps": stamps, "at the next trade": traded,
    "on paper": paid,
}
for k, (way, told) in enumerate(ways.items()):
    mean = np.array([told[name].mean for name in coins])
    low = np.array([told[name].interval()[0] for name in coins])
    ax.errorbar(
        np.arange(5) + 0.2 * (k - 1), mean, mean - low, fmt="osD"[k],
        color=(NEUTRAL, UP, DOWN)[k], label=way,
    )
ax.axhline(cost, color="black", ls=":", lw=1, label="costs")
ax.axhline(0, color="black", lw=0.8)
ax.set_xticks(range(5), list(coins))
ax.set(ylabel="basis points a trade")
ax.set_ylim(-10, 48)
ax.legend(ncols=2, fontsize=8)
plt.show()

# %%
check_6(true, paid)
late, slow = (paid[coin_of[kind]].interval() for kind in KINDS[:2])
assert slow[0] < cost == 13 < late[0]

# %% [markdown]
# Paper agrees with the two instruments. The coins that they had accepted earn on new days, while the
# intervals of the other two hold zero. Note what it cost to be sure in this way: 60 days, and not a
# word on what was wrong. The volumes had said that from the record alone.
#
# Of the two true followers only one is known to pay, since its interval lies above the costs of 13
# basis points. The other's interval holds the costs, so its lead is true and may still be worth
# nothing. `none` was the control. The test of step 1, the prices of step 5 and the orders on paper
# each had the chance to find a lead there, and none of them did. (The backtest of step 2 shows why
# a control is needed: without costs it gave even this coin a Sharpe ratio of 2.)
#
# ```{solution-end}
# ```
#
# ## What to conclude, and what not
#
# You may conclude that two of the four leads are true and two are made by the record. You may also
# conclude why the tests of step 1 and the backtest of step 2 could not know. Both read the record, and
# the fault lies between the market and the record. A lead therefore needs a piece of knowledge from
# outside the prices: when the hour struck, and whether anybody traded.
#
# You may not conclude that whatever passes both instruments is a lead. They find a clock that is
# wrong by a constant and a price that is old, and a record may be spoiled otherwise: by an index
# that averages the last minutes, say, or by holes that somebody filled. Nor does every market strike
# the hour as loudly as this one, where the burst was planted. Look at the leader first, because
# without a peak there the second clock says nothing. And the account on paper pays the price of the
# first trade, however large an order is, so that it flatters a coin that trades rarely. On real bars
# of 15 minutes {ref}`ch-cross-market` found no lead between three large coins, true or false.
#
# ## Go on
#
# 1. **Let the clock drift.** Plant a recorder that is right on the first day and loses one minute a
#    week. Which correlation by lag do you expect over all days, and from how many hours can the
#    burst still be read in one week? Then plant a coin with both faults, which follows truly *and*
#    is stamped late, and see what is left of its lead when only the clock is set right.
# 2. **Take two records of your own.** Put two files of one-minute bars in place of `leader` and of one
#    coin in `coins`, and go through the steps up to the fifth. Whether the hour strikes in them is
#    the first thing to find out. Then ask the sample of this book: are its widest bars and its
#    highest mean volume in the same quarter of the hour, and how much of the answer is made by its
#    largest volume?
