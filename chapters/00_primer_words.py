# %% [markdown]
# (ch-primer-words)=
# # Primer: the words of learning and of performance
#
# **Which words does this book use about nets and about money, and how can you check each of them by
# hand?**
#
# ```{admonition} What you will do
# :class: tip
# - score forecasts with a pencil, and take steps down a slope
# - watch a model learn, and then learn too much
# - turn four numbers into a return, a {term}`drawdown` and a Sharpe ratio
# - count what a trade costs, and what holding costs
# - ask of a result: luck? how sure? could I have seen it at all?
# ```
#
# *You need* {ref}`ch-first-light`. *Runs* in under 30 s on two cores.

# %%
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import candles, evidence, metrics
from setrade.costs import Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
EPOCHS = 60  # times that the model below goes through its examples

# %% [markdown]
# This is the second page to come back to. It holds the words that every later chapter uses without
# stopping, each with a number that you can work out yourself. If you have trained nets before, read
# sections 4 to 6; if you have traded before, read the first three and section 6, because its words
# are those on which the {term}`verdicts <verdict>` of this book rest; and if you have done both,
# try the exercises and go on.
#
# ## 1 A forecast, and how wrong it is
#
# A model is shown a window of bars, an **example**, and is asked a question with three answers: will
# the price fall, stay or rise enough to pay for a trade? The three answers are called **classes**,
# and the right one, known afterwards, is the **label**. The model does not name a class, but gives
# each of them a number, its **{term}`logit`**, which may be anything. The **{term}`softmax`** turns
# the logits $z_1, z_2, z_3$ into the probabilities
#
# $$p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}.$$
#
# With a pencil: the logits 1, 0 and 2 become $e^1 = 2.72$, $e^0 = 1$ and $e^2 = 7.39$. Their sum is
# 11.11, and the probabilities are 0.24, 0.09 and 0.67.

# %%
z = np.array([1.0, 0.0, 2.0])
grown = np.exp(z)
p = grown / grown.sum()
print("e to the z:", grown.round(2), f"sum {grown.sum():.2f}")
print("p:", p.round(2))

# %%
assert np.isclose(p.sum(), 1)

# %% [markdown]
# How wrong is a forecast? The **{term}`loss`** says it in one number, the lower the better. For
# classes it is the **{term}`cross-entropy`**, also called **{term}`log loss`**: minus the logarithm
# of the probability that was given to the right class. A forecaster who gave the truth 0.7 pays
# $-\ln 0.7 = 0.36$, and one who gave it 0.2 pays 1.61. For calling it impossible the price has no
# limit, and so it does not pay to exaggerate. A loss made of natural logarithms is counted in
# *{term}`nats <nat>`*.
#
# <!-- number: 0.9 by example -->
# A loss alone says nothing, because nobody knows whether 0.9 is much. It needs a
# **{term}`baseline`**, which is a forecaster that everybody could be. The dullest one gives every
# class a third and pays $\ln 3 = 1.10$ whatever happens. A better dull one gives each class its
# share among the examples. If half of them are «stay» and the rest is split evenly, it pays 1.04 on
# average. A model that pays 1.05 has {term}`learned` less than those three shares.

# %%
given = {"sure": 0.7, "doubtful": 0.2, "a third": 1 / 3}
for name, prob in given.items():
    print(f"{name:9} {-np.log(prob):.2f}")
shares = np.array([0.25, 0.5, 0.25])
dull = -(shares * np.log(shares)).sum()
print(f"{'shares':9} {dull:.2f}")

# %%
assert dull < 1.05 < np.log(3)

# %% [markdown]
# Two more scores are simpler to say and poorer. **Accuracy** is the share of examples whose likeliest
# class was right; the baseline of accuracy is «always the commonest class», here 50 %. The
# **{term}`information coefficient`**, IC for short, is for forecasts that are numbers. It asks
# whether larger forecasts went with larger returns, by ranks: 1 if always, 0 if there is no relation,
# −1 if it is the wrong way round.
#
# <!-- number: 0.02, 0.2 by experience -->
# With a pencil: forecasts with ranks 1, 2, 3, 4, 5 met returns with ranks 2, 1, 4, 3, 5. The
# differences are 1, 1, 1, 1 and 0, their squares add up to 4, and with five pairs the coefficient
# is $1 - 6 \cdot 4 / (5 \cdot 24) = 0.8$. For the next hours of a market, as a rule, 0.02 is worth
# reporting, while 0.2 means that something was measured wrongly. (Of the next seconds an
# {term}`order book` can say more, {ref}`ch-order-book-images`.)

# %%
ranks = pd.Series([1, 2, 3, 4, 5]), pd.Series([2, 1, 4, 3, 5])
squares = ((ranks[0] - ranks[1]) ** 2).sum()
by_hand = 1 - 6 * squares / (5 * (5**2 - 1))
print(f"squares {squares}, coefficient {by_hand:.1f}")

# %%
assert np.isclose(ranks[0].corr(ranks[1], method="spearman"), by_hand)

# %% [markdown]
# ## 2 How a loss is made small
#
# A net has thousands of numbers that may be changed, its **weights**, and **training** changes them
# so that the loss falls. The **{term}`gradient`** says for each weight how the loss would change if
# that weight grew a little. So one goes a small step the other way, and the size of that step is set
# by the **{term}`learning rate`**.
#
# With a pencil: let there be one weight $w$ and the loss $(w - 3)^2$, whose lowest point is 3. The
# gradient is $2(w - 3)$, and at $w = 0$, where we begin, it is −6. With a learning rate of 0.1 the
# step leads to 0.6, and the next one, which is shorter, to 1.08. With 0.5 a single step arrives, but
# with 1.1 it leads to 6.6, far past the point, and each further one leads further away.


# %%
def descend(rate, steps=8, w=0.0):
    path = [w]
    for _ in range(steps):
        path.append(path[-1] - rate * 2 * (path[-1] - 3))
    return np.array(path)


for rate in (0.1, 0.5, 1.1):
    print(f"rate {rate}: ", descend(rate, 3).round(2))

# %% mystnb={"figure": {"caption": "Eight steps from w = 0 down the loss (w − 3)², at three learning rates.", "name": "fig-primer-rates"}, "image": {"alt": "Loss by step, on a logarithmic axis. At rate 0.02 the loss sinks slowly and is still near 5 after eight steps; at 0.3 it falls by orders of magnitude; at 1.1 it grows from 9 to more than a hundred."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
rates = {0.02: NEUTRAL, 0.3: UP, 1.1: DOWN}
for (rate, colour), mark in zip(rates.items(), "o^s", strict=True):
    line = {"color": colour, "label": f"rate {rate}"}
    ax.plot((descend(rate) - 3) ** 2, mark + "-", **line)
ax.set(yscale="log", xlabel="step", ylabel="loss")
ax.legend()
plt.show()

# %%
assert ((descend(0.02) - 3) ** 2)[-1] > 4
assert ((descend(0.3) - 3) ** 2)[-1] < 1e-3
assert ((descend(1.1) - 3) ** 2)[-1] > 100

# %% [markdown]
# Computing the gradient from all examples before every step is slow. So it is computed from a few
# dozen at a time, a **{term}`batch`**. When every example has been used once, an **{term}`epoch`** is
# over, and the examples are shuffled for the next one.
#
# The weights begin at random, and the shuffling is random too. Both come from a **{term}`seed`**, a
# number from which a generator works out its draws. The same seed gives the same draws, hence the
# same net, and another seed gives another net that answers otherwise here and there. That is why a
# result from one seed is a single case, which may have been luck.

# %%
def draw(seed):
    return np.random.default_rng(seed).normal(size=3)


print(draw(0).round(2), draw(1).round(2))
assert (draw(0) == draw(0)).all()

# %% [markdown]
# ## 3 Learning, and learning too much
#
# <!-- number: 29 by 30 - 1 -->
# Here is a whole training in one cell, with nothing hidden. There are 60 examples of 30 numbers each,
# of which only the first has to do with the label; the other 29 are noise, as most of what one can
# compute from a market is. The model is the smallest that there is, one weight a number.


# %%
def examples(n, rng):
    x = rng.normal(size=(n, 30))
    return x, (x[:, 0] + rng.normal(size=n) > 0).astype(float)


def loss(w, x, y):
    p = 1 / (1 + np.exp(-x @ w))  # the softmax of two classes
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def train(x, y, rng, rate=0.1, batch=10):
    w = np.zeros(30)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x)).reshape(-1, batch)
        for rows in order:
            p = 1 / (1 + np.exp(-x[rows] @ w))
            w = w - rate * x[rows].T @ (p - y[rows]) / batch
        yield w


# %% [markdown]
# Beside the 60 examples of the **training set** the model is scored on 2,000 that it never learns
# from, the **{term}`validation set`**, so that both losses can be followed, epoch by epoch.

# %%
rng = np.random.default_rng(0)
x, y = examples(60, rng)
x_val, y_val = examples(2_000, rng)
weights = list(train(x, y, rng))
seen = np.array([loss(w, x, y) for w in weights])
unseen = np.array([loss(w, x_val, y_val) for w in weights])
best = int(unseen.argmin())

# %%
print("epoch   training  validation")
for e in (0, best, EPOCHS - 1):
    print(f"{e + 1:5}{seen[e]:11.2f}{unseen[e]:12.2f}")
print(f"one half for each class pays {np.log(2):.2f}")

# %% mystnb={"figure": {"caption": "One training: the loss on the examples that it learns from, and on others.", "name": "fig-primer-overfitting"}, "image": {"alt": "Two curves by epoch. The training loss falls all the time, to below 0.3. The validation loss falls for a few epochs, touches its lowest point, marked by a vertical line, and then climbs steadily above the dotted line of a coin."}}
fig, ax = plt.subplots(figsize=(7.2, 2.8))
epochs = np.arange(1, EPOCHS + 1)
ax.plot(epochs, seen, color=UP, label="training")
ax.plot(epochs, unseen, "--", color=DOWN, label="validation")
ax.axhline(np.log(2), color=NEUTRAL, ls=":", label="a coin")
ax.axvline(best + 1, color="black", lw=0.8)
ax.set(xlabel="epoch", ylabel="loss")
ax.legend()
plt.show()

# %% [markdown]
# <!-- number: 30 by one weight a number -->
# The training loss falls for ever, because 30 weights can learn 60 examples nearly by heart, noise
# and all. The validation loss falls for a few epochs and then rises: what is learned from then on is
# true of these 60 examples and of no others. This is **{term}`overfitting`**, and after it the model
# is worse than it was, though its training loss never looked better. The cure in this book is
# **{term}`early stopping`**: keep the weights of the epoch with the lowest validation loss. Weights
# that are written to a file are a **{term}`checkpoint`**.
#
# One more set is needed, because the validation set chose the epoch, and so its loss at that epoch is
# a little too good, as the best of many tries always is. What may be believed comes from a
# **{term}`test set`** that chose nothing and is looked at once. In markets the three sets stand in
# the order of time, since a model that learned from Tuesday must not be examined about Monday.

# %%
assert seen[-1] < 0.3 and (np.diff(seen) < 0).mean() > 0.9
assert unseen[best] < unseen[0] and unseen[-1] > np.log(2)
assert 0 < best < 15

# %% [markdown]
# ## 4 Words of money
#
# An account holds 100 at first and then 110, 99 and 108.9. This curve is its **{term}`equity`**: cash
# plus what the open position would bring. A **return** is a change as a fraction, here +10 %, −10 %
# and +10 %. Returns do not add up: their sum is 10 %, but the account gained 8.9 %, because the loss
# was taken from more than the gain before it had been. What adds up are
# {term}`log returns <log return>`, $\ln(110/100) = 0.095$ and so on.
#
# - **Annual return**: the yearly rate that would lead to the same end. If the three steps were years,
#   it is $1.089^{1/3} - 1 = 2.9\,\%$.
# - **{term}`Volatility <volatility>`**: the standard deviation of the returns, here 11.5 %, for how
#   much it shakes.
# - **{term}`Sharpe ratio`**: the mean return over the volatility, $3.33 / 11.55 = 0.29$ a step. With
#   $n$ steps a year it is multiplied by $\sqrt n$, because the mean grows with $n$ and the volatility
#   with its root.
# - **{term}`Drawdown <drawdown>`**: how far the account stands below its last peak. Here it is −10 %
#   at worst. Of all figures it is the one that people feel.
# - **{term}`Win rate <win rate>`**: the share of trades that earned something, two of three. It says
#   little, because a hundred small gains and one ruin have a win rate of 99 %.
# - **{term}`Profit factor <profit factor>`**: all gains over all losses, $(10 + 9.9)/11 = 1.81$.
# - **{term}`Buy-and-hold <buy-and-hold>`**: what doing nothing would have earned. It is the baseline
#   of every strategy.

# %%
equity = np.array([100, 110, 99, 108.9])
r = metrics.returns(equity)
print("returns:", (100 * r).round(1), f"sum {100 * r.sum():.0f} %")

# %%
print(
    f"first log return {np.log(1.1):.3f}, all {np.log1p(r).sum():.3f}"
)
print(f"annual return {100 * metrics.annual_return(r, 1):.1f} %")
print(f"mean {100 * r.mean():.2f} %")
print(f"volatility {100 * r.std(ddof=1):.2f} %")

# %%
print(f"Sharpe {metrics.sharpe(r, 1):.2f} a step")
print(f"{metrics.sharpe(r, 4):.2f} a year, if the steps are quarters")
print(f"drawdown {100 * metrics.max_drawdown(r):.0f} %")
print(f"win rate {metrics.win_rate(np.diff(equity)):.2f}")
print(f"profit factor {metrics.profit_factor(np.diff(equity)):.2f}")

# %%
assert np.isclose(equity[-1] / equity[0] - 1, 0.089)
assert np.isclose(np.log1p(r).sum(), np.log(1.089))
assert np.isclose(metrics.sharpe(r, 4), 2 * r.mean() / r.std(ddof=1))
assert np.isclose(metrics.profit_factor(np.diff(equity)), 19.9 / 11)
assert 99 / (99 + 1) == 0.99

# %% mystnb={"figure": {"caption": "Two accounts with the same end: equity above, drawdown below.", "name": "fig-primer-drawdown"}, "image": {"alt": "Above, a smooth and a rough equity curve that end at the same value of 1.2. Below, the smooth account is never more than two per cent under its last peak, while the rough one falls a fifth or more below it."}}
rng = np.random.default_rng(4)
shocks = rng.normal(size=250)
shocks -= shocks.mean()
accounts = {}
for name, size in (("smooth", 0.002), ("rough", 0.02)):
    accounts[name] = np.exp(
        np.cumsum(size * shocks + np.log(1.2) / 250)
    )
fig, axes = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True)
for name, curve in accounts.items():
    style, colour = ("-", UP) if name == "smooth" else ("--", DOWN)
    peak = np.maximum.accumulate(curve)
    axes[0].plot(curve, style, color=colour, label=name)
    axes[1].plot(curve / peak - 1, style, color=colour)
axes[0].set_ylabel("equity")
axes[1].set(xlabel="day", ylabel="drawdown")
axes[0].legend()
plt.show()

# %%
smooth, rough = (metrics.returns(a) for a in accounts.values())
assert np.allclose([curve[-1] for curve in accounts.values()], 1.2)
assert metrics.max_drawdown(smooth) > -0.03
assert metrics.max_drawdown(rough) < -0.2

# %% [markdown]
# A position may be **long**, which gains when the price rises, or **short**, which gains when it
# falls: somebody who is short has sold what was borrowed, and must buy it back. With
# **{term}`leverage`** a position is larger than the account. At three times the equity a fall of a
# third takes everything. The exchange does not wait for that, and closes the position before: a
# **{term}`liquidation`**.
#
# ## 5 Words of costs
#
# <!-- number: 5.5, 1.0, 2.0 from setrade/costs.py -->
# Costs are counted in **{term}`basis points <basis point>`**, hundredths of a per cent, because a
# single one is small. An order that trades at once is a **{term}`taker`** and pays 5.5 of them here;
# one that waits in the book until somebody comes is a maker and pays 2.0. The taker also pays
# **{term}`slippage`**: it gets a worse price than the one it saw, because prices move and because
# there is a gap between best bid and best ask, the **spread**. We count 1.0 for it, and more for
# large orders, whose **{term}`market impact`** pushes the price away from them.
#
# With a pencil: a side costs $5.5 + 1.0 = 6.5$ basis points, there and back 13 bps. Trading the whole
# account there and back once a day makes a **{term}`turnover`** of 730 a year, which costs
# $730 \cdot 0.00065 = 47\,\%$ of the account every year, before anything is earned. So even a
# forecast that is right more often than not may be worth less than its costs.
#
# Futures without an expiry have one more cost: so that their price stays near that of the coin, their
# holders pay each other **{term}`funding`** every eight hours. A usual rate is 0.01 %, and a long
# pays it three times a day: $3 \cdot 365 \cdot 0.01 = 11\,\%$ a year for nothing but holding.

# %%
costs = Costs()
side = costs.fee_bps + costs.slippage_bps
turnover = 2 * 365

# %%
print(f"a side {side:.1f} bps, there and back {2 * side:.0f} bps")
print(f"turnover {turnover}: {turnover * side / 1e4:.0%} a year")
print(f"funding {3 * 365 * 0.0001:.0%} a year")
assert (costs.fee_bps, costs.maker_fee_bps, side) == (5.5, 2.0, 6.5)

# %% [markdown]
# ## 6 Words of doubt
#
# A coin shows heads 60 times in 100: is it a false coin? Suppose that it is fair, since this dull
# assumption, the **null hypothesis**, can be worked out. A fair coin shows 60 heads or more in 2.8 %
# of such experiments. That share is the **{term}`p-value`**: how often chance alone would do as well
# or better. It is *not* the probability that the coin is fair. By custom people take a result
# seriously when it is below 5 %.


# %%
def at_least(k, n, p=0.5):
    """The chance of k heads or more in n tosses."""
    q = 1 - p
    return sum(
        comb(n, i) * p**i * q ** (n - i) for i in range(k, n + 1)
    )


# %%
FALSE = 0.55  # heads of a false coin
print(f"60 heads or more of 100, fair: {at_least(60, 100):.1%}")
limit = next(k for k in range(101) if at_least(k, 100) < 0.05)
print(f"below 5 % from {limit} heads on")

# %% [markdown]
# How large might the truth be? A **{term}`confidence interval`** says it: the values that go
# together with what was seen. For a share $\hat p$ of $n$ tosses it is about $\hat p \pm
# 1.96\sqrt{\hat p(1 - \hat p)/n}$, here 50 % to 70 %. It is called a 95 % interval because of a
# hundred such intervals about 95 hold the truth. Where a formula would take too much for granted,
# as for a Sharpe ratio, whose usual formula asks that returns be independent of each other, one
# draws new histories from the old one and looks how the figure spreads: the **{term}`bootstrap`**.

# %%
half = 1.96 * np.sqrt(0.6 * 0.4 / 100)
print(f"heads: {0.6 - half:.0%} to {0.6 + half:.0%}")
daily = candles.sample()["close"].resample("1D").last()
held = metrics.returns(daily.to_numpy())


def year(x):
    return metrics.sharpe(x, 365)


around = evidence.interval(year, held, seed=0)

# %%
print(f"bitcoin, {len(held)} days: Sharpe {around.estimate:.1f}")
print(f"95 % interval {around.low:.0f} to {around.high:.0f}")

# %% [markdown]
# Two months of bitcoin had a Sharpe ratio that would be very high if it were known exactly. Its
# interval says how little two months can tell, because a terrible and a splendid market both go
# together with these days.
#
# Could the experiment have seen what it looked for? Let the coin be false, with 55 % heads. A hundred
# tosses reach 59 heads, from which on the p-value is below 5 %, only in 24 % of the experiments. This
# share is the **{term}`power`**: the chance to find what is there. With a thousand tosses it is 93 %.
# So when an experiment without power finds nothing, it has said nothing about whether there was
# something to find.

# %% mystnb={"figure": {"caption": "Power: how often a fair coin and one with 55 % heads reach the limit, in 100 and in 1,000 tosses.", "name": "fig-primer-power"}, "image": {"alt": "Two panels with the distributions of heads for a fair and a false coin, and a line at the limit. With 100 tosses the two humps overlap almost wholly, and a quarter of the false one lies beyond the limit. With 1,000 tosses they are apart, and nearly all of it lies beyond."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.8))
power = {}
for ax, n in zip(axes, (100, 1_000), strict=True):
    reach = next(k for k in range(n) if at_least(k, n) < 0.05)
    power[n] = at_least(reach, n, FALSE)
    k = np.arange(int(0.38 * n), int(0.66 * n))
    for chance, colour, style in (
        (0.5, NEUTRAL, "-"), (FALSE, UP, "--"),
    ):
        log = [np.log(float(comb(n, i))) for i in k]
        odds = np.log(chance), np.log(1 - chance)
        like = np.exp(log + k * odds[0] + (n - k) * odds[1])
        ax.plot(
            k, like, style, color=colour, label=f"{chance:.0%} heads"
        )
    ax.axvline(reach, color="black", lw=0.8)
    ax.set(title=f"{n:,} tosses", xlabel="heads", yticks=[])
axes[0].legend(fontsize=8)
plt.show()

# %%
for n, share in power.items():
    print(f"{n:5,} tosses: {share:.0%}")
luck = sum(comb(100, k) for k in range(limit, 101)) / 2**100
print(f"a fair coin, {limit} heads or more of 100: {luck:.1%}")

# %%
assert limit == 59 and round(power[100], 2) == 0.24
assert round(power[1_000], 2) == 0.93
assert around.low < -1 and around.high > 5

# %% [markdown]
# If you look often enough, you will find something. Ask twenty coins, all fair, and at least one
# shows a p-value below 5 % in up to $1 - 0.95^{20} = 64\,\%$ of the cases (a little less often with
# our hundred tosses, of which 59 heads or more have 4.4 %). So the number of tries belongs to the
# result, and {ref}`ch-honest-evaluation` charges for it.
#
# Three words describe how a strategy is examined. A **{term}`backtest`** plays it over past bars,
# with costs. **{term}`Walk-forward <walk-forward>`** means to train on the past, test on the stretch
# that follows, move on, and do it again, so that every test lies after its training. Where a label
# looks ten bars ahead, the last ten training examples already know bars of the test; leaving them out
# is the **{term}`purge`**, and a further pause is the **{term}`embargo`**.

# %%
print(f"one of twenty below 5 %: {1 - 0.95**20:.0%}")
bar, test_from = np.arange(100), 80
needs = bar + 10  # the last bar that its label reads
purged = bar[(bar < test_from) & (needs >= test_from)]
print(f"test from bar {test_from}: purge {purged[0]} to {purged[-1]}")

# %%
assert len(purged) == 10

# %% [markdown]
# ## What goes wrong
#
# A strategy is in the market for one bar in ten and flat otherwise. Somebody computes its Sharpe
# ratio from the returns of its *trades*, the bars at which it was in the market, and multiplies by
# the root of all the bars in a year. It looks natural, because flat bars «have no return», but a year
# does not hold that many of the bars at which it was in the market.

# %%
rng = np.random.default_rng(1)
bars_a_year = 365 * 24
inside = rng.random(3 * bars_a_year) < 0.1
gains = np.where(inside, rng.normal(0.0003, 0.005, len(inside)), 0.0)

# %%
wrong = metrics.sharpe(gains[inside], bars_a_year)
right = metrics.sharpe(gains, bars_a_year)
mended = metrics.sharpe(gains[inside], bars_a_year * inside.mean())
print(f"trades only, all bars of a year: {wrong:.1f}")
print(f"every bar, flat ones at zero:    {right:.1f}")
print(f"trades only, trades of a year:   {mended:.1f}")

# %% [markdown]
# The first is more than three times too high, by the root of ten, and no seed or market changes that.
# Flat bars have a return, and it is zero. Either count them, or count how many of the others a year
# really has; the two agree. When a published Sharpe ratio looks too good, ask which root it was
# multiplied by.

# %%
assert abs(wrong / right - np.sqrt(10)) < 0.2
assert abs(mended - right) < 0.05

# %% [markdown]
# ## Summary
#
# - A loss is a number that says how wrong a forecast was, and it means something only beside a
#   baseline.
# - Training goes down a slope in steps. Too small a learning rate arrives late, and too large a one
#   never.
# - A training loss that falls proves memory. Only examples that chose nothing prove learning.
# - Returns multiply, costs add up, and the figure that people feel is the drawdown.
# - Ask three things of every result: how often would luck do this, how wide is its interval, and
#   could a true effect have been seen at all?
#
# ## Exercises
#
# ```{exercise} A loss by hand ★
# :label: ex-primer-words-1
# Three forecasts gave the right class 0.5, 0.25 and 0.8. What is the mean cross-entropy, and does it
# beat the baseline of a third each?
# ```
#
# ```{solution-start} ex-primer-words-1
# :class: dropdown
# ```
# The three losses are 0.69, 1.39 and 0.22, on average 0.77, which is well below the 1.10 of the
# baseline.

# %%
losses = -np.log([0.5, 0.25, 0.8])
print(losses.round(2), f"mean {losses.mean():.2f}")
print(f"baseline {np.log(3):.2f}")
assert losses.mean() < np.log(3)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Up ten, down ten ★
# :label: ex-primer-words-2
# An account gains 10 % on each odd day and loses 10 % on each even day. What is its mean return, and
# what is left after 100 days?
# ```
#
# ```{solution-start} ex-primer-words-2
# :class: dropdown
# ```
# The mean is zero, but two days multiply the account by $1.1 \cdot 0.9 = 0.99$, and after fifty such
# pairs 60.5 % is left. What is lost by shaking alone is called volatility drag.

# %%
r = np.tile([0.1, -0.1], 50)
print(f"mean {abs(r.mean()):.3f}, left {np.prod(1 + r):.1%}")
assert np.isclose(np.prod(1 + r), 0.99**50)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The best epoch is too good ★★
# :label: ex-primer-words-3
# Let 50 models toss coins: each is right on a validation example with probability one half, and on a
# test example too. Choose the best on 100 validation examples. What does it show there, and what on
# 100 test examples, on average over 400 repetitions?
# ```
#
# ```{solution-start} ex-primer-words-3
# :class: dropdown
# ```
# The set that chose shows more than 60 %, while the one that did not shows one half.

# %%
rng = np.random.default_rng(0)
chose = rng.binomial(100, 0.5, (400, 50))
others = rng.binomial(100, 0.5, (400, 50))
winner = chose.argmax(axis=1)[:, None]
shown = np.take_along_axis(chose, winner, 1).mean()
tested = np.take_along_axis(others, winner, 1).mean()
print(f"validation {shown:.0f} %, test {tested:.0f} %")

# %%
assert shown > 60 and abs(tested - 50) < 1

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} How long must one wait? ★★
# :label: ex-primer-words-4
# A strategy has a true Sharpe ratio of 1 a year. Its estimate from $n$ years shakes with a standard
# deviation of about $1/\sqrt n$. After how many years does the 95 % interval around an estimate of
# just 1 leave zero out, how often does it do so then, and how many years does a ratio of 0.5 take?
# ```
#
# ```{solution-start} ex-primer-words-4
# :class: dropdown
# ```
# The interval is $1 \pm 1.96/\sqrt n$, which leaves zero out from $1.96^2$ years on. Even then it does
# so in only half of the cases, because half of the estimates lie below 1. For half the ratio it takes
# four times as long.

# %%
for ratio in (1.0, 0.5):
    print(f"Sharpe {ratio}: {(1.96 / ratio) ** 2:.1f} years")
rng = np.random.default_rng(0)
estimates = rng.normal(1.0, 1 / 1.96, 20_000)

# %%
assert abs((estimates > 1.96 / 1.96).mean() - 0.5) < 0.02

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Your own account ★★★
# :label: ex-primer-words-5
# Take a year of values of any account or fund that you can find, one a day or a month. Compute every
# figure of section 4, an interval around the Sharpe ratio, and the same for holding an index. What
# can you say that the intervals do not take back?
# ```
#
# ```{solution-start} ex-primer-words-5
# :class: dropdown
# ```
# The same lines work on any curve, here on that of the sample, day by day:

# %%
curve = daily.to_numpy() / daily.iloc[0]
r = metrics.returns(curve)
shakes = 100 * metrics.volatility(r, 365)
print(f"ends at {curve[-1]:.2f}, volatility {shakes:.0f} % a year")
print(f"drawdown {metrics.max_drawdown(r):.0%}")
print("its Sharpe interval holds zero:", 0 in around)

# %%
assert 0 in around

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Further reading
#
# {cite:t}`sharpe1994` tells what the ratio that bears his name was meant for, {cite:t}`lo2002` how
# far its estimates shake, and {cite:t}`lopezdeprado2018` what else goes wrong in section 6.
