# %% [markdown]
# (ch-first-light)=
# # First light
#
# **What is a trading system, whole, and how could you tell whether it is any good?**
#
# ```{admonition} What you will do
# :class: tip
# - read 5,528 bars of bitcoin and draw them
# - build a whole system in twenty lines, from bars to a curve of money
# - watch it lose, first to the market, then to its costs
# - break it with one missing word, and see it earn six times its stake
# - learn which part of this book questions which line
# ```
#
# *You need* Python and a little pandas, nothing of markets. *Runs* in under 20 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import candles
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
LENGTH = 48  # bars that the average looks back: twelve hours

# %% [markdown]
# An astronomer who has built a telescope points it at the sky for the first time and takes a
# picture. It is never a good picture, but it is a *whole* one: light goes in at one end and
# something comes out at the other, and from then on every improvement can be seen. Astronomers
# call it *first light*. This chapter does the same with a trading system. The system loses money,
# but it is short enough to read in one go, and each of its lines stands for a part of the book
# that will take the line apart.
#
# ## 1 From trades to bars
#
# All day long people buy and sell bitcoin, and every trade has a price. To get an overview, time is cut
# into quarters of an hour, and of each quarter five numbers are kept: the first price (the *open*),
# the highest (*high*), the lowest (*low*), the last (*close*), and how much changed hands
# (*volume*). Such a row is called a **bar**, or a candle. Here are the bars of 58 days in autumn
# 2021.

# %%
bars = candles.sample()
print(len(bars), "bars, the first three:")
print(bars.head(3).to_string())

# %%
assert len(bars) == 5_528
assert round(len(bars) / 96) == 58  # 96 quarters of an hour a day

# %% mystnb={"figure": {"caption": "The close of each bar, and the mean of the newest 48 closes.", "name": "fig-first-price"}, "image": {"alt": "The price of bitcoin over 58 days climbs from 43,000 to more than 67,000 dollars and falls back to 57,000; a smoother line, its average, follows it with a delay."}}
close = bars["close"]
average = close.rolling(LENGTH).mean()
fig, ax = plt.subplots(figsize=(8, 3))
ax.plot(close.index, close, color=NEUTRAL, lw=0.8, label="close")
ax.plot(close.index, average, color=UP, lw=1.2, label="mean of 48 bars")
ax.set_ylabel("US dollars")
ax.legend()
plt.show()

# %%
assert close.max() > 67_000
assert 42_000 < close.iloc[0] < 44_000

# %% [markdown]
# ## 2 A rule, and what it earns
#
# <!-- number: 4.0 by the closes 101 and 105 -->
# An old rule says: go with the trend. As long as the price lies above its own average of the last
# twelve hours, hold bitcoin; otherwise hold dollars. To see how a rule becomes a curve of money,
# take six bars, an average of three, and a pencil.
#
# | bar | close | mean of 3 | above? | held during the bar | return | money |
# |---|---|---|---|---|---|---|
# | 1 | 100 | | | 0 | | 1.000 |
# | 2 | 101 | | | 0 | +1.0 % | 1.000 |
# | 3 | 105 | 102.0 | yes | 0 | +4.0 % | 1.000 |
# | 4 | 104 | 103.3 | yes | 1 | −1.0 % | 0.990 |
# | 5 | 107 | 105.3 | yes | 1 | +2.9 % | 1.019 |
# | 6 | 103 | 104.7 | no | 1 | −3.7 % | 0.981 |
#
# Look at bar 3. At its end the price lies above the mean for the first time, so the rule says
# «hold». But the jump from 101 to 105 is over by then, so what can still be earned is only the move
# of bar 4. **A decision is paid by the bar that follows it**, so the column «held» is the column
# «above» moved down by one row. At the end of bar 6 the rule says «sell», and the fall that told it
# so has already been paid for.

# %%
six = pd.Series([100.0, 101, 105, 104, 107, 103], range(1, 7))
mean, moved = six.rolling(3).mean(), six.pct_change().fillna(0)
held = (six > mean).astype(float).shift(1, fill_value=0.0)
money = (1 + held * moved).cumprod()
columns = {
    "mean": mean.round(1), "held": held,
    "return in %": (100 * moved).round(1),
}
print(pd.DataFrame(columns | {"money": money.round(3)}).to_string())

# %%
assert held.tolist() == [0, 0, 0, 1, 1, 1]
assert money.round(3).tolist() == [1, 1, 1, 0.99, 1.019, 0.981]

# %% [markdown]
# Now follows the whole system. Each of its lines has a comment, which is a question that you need
# not answer yet.

# %%
def system(close, length, fee):
    # What is in a bar, and can the file be trusted?
    move = close.pct_change().fillna(0.0)
    # Is an average all that a price can tell? Would a net see more?
    average = close.rolling(length).mean()
    # Is «above» the right question? Is all or nothing a good size?
    wanted = (close > average).astype(float)
    # When is a decision carried out, and at which price?
    held = wanted.shift(1, fill_value=0.0)
    # What does it cost to change one's mind?
    turned = held.diff().abs().fillna(0.0)
    # What is the curve worth, after all, and compared with what?
    return (1 + held * move - turned * fee).cumprod(), turned


# %% [markdown]
# A **fee** has to be paid to the exchange for each purchase and each sale: on Bybit, for somebody
# who takes the price that is there, 0.055 % of the amount with the contracts on which this book
# trades (they move with the price of bitcoin; for bitcoin itself it is 0.1 %). Let us first pretend
# that it is zero.

# %%
free, turned = system(close, LENGTH, fee=0.0)
paid, _ = system(close, LENGTH, fee=0.00055)
hold = close / close.iloc[0]
for name, curve in {
    "no fee": free, "with fees": paid, "just hold": hold,
}.items():
    print(f"{name:10} {curve.iloc[-1] - 1:+.1%}")
print(f"changed its mind {int(turned.sum())} times")

# %% mystnb={"figure": {"caption": "First light: what became of one dollar.", "name": "fig-first-light"}, "image": {"alt": "Three curves start at one. The one that just holds ends near 1.3; the rule without fees and the rule with them rise for some ten days and then sink, the first to a little below one, the second to about 0.7."}}
fig, ax = plt.subplots(figsize=(8, 3))
ax.plot(hold, color=NEUTRAL, lw=0.8, label="just hold")
ax.plot(free, color=UP, label="the rule, no fee")
ax.plot(paid, color=DOWN, ls="--", label="the rule, with fees")
ax.axhline(1, color="black", lw=0.8)
ax.set_ylabel("money")
ax.legend()
plt.show()

# %%
assert free.iloc[-1] < 1 < hold.iloc[-1]
assert -0.35 < paid.iloc[-1] - 1 < -0.25
assert int(turned.sum()) > 500

# %% [markdown]
# That is our first light. The market rose, and the rule, which was made for rising markets, lost
# a little before any cost. It also changed its mind more than 500 times in 58 days, and although
# each change is cheap, together they took about a quarter of the money. A rule that sounds sensible
# may end like that, and a published curve that ends otherwise may only have left a line out; the
# rest of the book is about finding out which.
#
# ## 3 Which line is the weak one?
#
# All of them are weak, each in its own way, and so the plan of the book is to question them one
# after another:
#
# | the line asks | the part that answers |
# |---|---|
# | What is in a bar, and can the file be trusted? | I Markets as {term}`channels <channel>`, {ref}`ch-candles` |
# | Is an average all that a price can tell? | I and II: thirty-two channels in {ref}`ch-channels`, and a net that weighs them in {ref}`ch-se-trader` |
# | Would a net that looks at the *picture* see more? | III and IV: from {ref}`ch-candlestick-images` to {ref}`ch-many-heads` |
# | All or nothing? | V: sizes in {ref}`ch-backtesting` |
# | When, and at which price? | V {ref}`ch-backtesting`, VI {ref}`ch-live-pipeline` |
# | What does it cost? | V: fees, {term}`slippage` and {term}`funding` in {ref}`ch-backtesting` |
# | What is the curve worth? | V {ref}`ch-honest-evaluation` and {ref}`ch-verdict` |
#
# <!-- number: 400 by the range of lengths -->
# The last question is the hardest, and improving the rule shows why. The twelve hours were chosen
# without a reason, so try every length from 10 to 400 bars, on the first half of the bars, and keep
# the best. Then run it on the second half, which had no part in the choice. (The average begins
# anew there, so the rule stands aside for its first bars.)

# %%
half = len(close) // 2
first, second = close.iloc[:half], close.iloc[half:]
lengths = range(10, 401, 10)
tried = {n: system(first, n, 0.00055)[0].iloc[-1] - 1 for n in lengths}
best = max(tried, key=tried.get)
later = system(second, best, 0.00055)[0].iloc[-1] - 1
print(
    f"best of {len(tried)}: {best} bars, {tried[best]:+.1%} on the "
    "first half"
)
print(f"the same {best} bars on the second half: {later:+.1%}")

# %%
assert len(tried) == 40
assert tried[best] > 0.1 > later
assert tried[best] > np.median(list(tried.values())) + 0.1

# %% [markdown]
# The best of forty looks like a discovery on the bars that chose it, and is none on the bars that
# did not. The reason is that one of the forty had to be the best, with or without skill. A whole
# chapter, {ref}`ch-honest-evaluation`, is about telling the one from the other.
#
# ## What goes wrong
#
# Now break the system with one missing word. In the line that asks «when is a decision carried out?»,
# forget the `shift`. Then the bar that makes the price rise above its average is also the bar that is
# held, and the rule knows each move before it has to pay for it.

# %%
move = close.pct_change().fillna(0.0)
wanted = (close > close.rolling(LENGTH).mean()).astype(float)
dream = (1 + wanted * move).cumprod()
print(f"decided and paid by the same bar: {dream.iloc[-1] - 1:+.0%}")
print(f"decided first, paid by the next:  {free.iloc[-1] - 1:+.0%}")

# %%
assert dream.iloc[-1] > 6 > free.iloc[-1]

# %% [markdown]
# There is no error and no warning, only a steady climb, and a profit of six times the stake in
# two months. When a curve looks like that, look for the missing word. This book tests for it
# everywhere: cut off the future, and nothing that was computed before the cut may change. Here is
# that test, on four lines:

# %%
cut = 3_000
short, _ = system(close.iloc[:cut], LENGTH, 0.0)
assert np.allclose(short, free.iloc[:cut])  # ours keeps its past
spoiled = close.copy()
spoiled.iloc[cut:] *= 2  # another future
again, _ = system(spoiled, LENGTH, 0.0)
assert np.allclose(again.iloc[:cut], free.iloc[:cut])
print("the first", cut, "values do not depend on what came after")

# %% [markdown]
# The system without its `shift` passes this test too, because it uses no *later* bar and is only
# paid by the wrong one. So one test is not enough, and {ref}`ch-backtesting` builds an account
# that cannot be paid for a decision before it was made.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* First light is a picture for a whole system that need not be good yet. That one
# should go with the trend is an old rule, and no more than a story until it has been measured.
#
# *Measured here.* On one stretch of real bars, in which the market rose, the rule lost a little
# without fees and much with them. The best of many lengths gained on the half that chose it and not
# on the other, and with its decisions paid a bar too early the rule seemed to multiply its stake.
#
# *Open.* One stretch of one market cannot say whether the rule is good or bad elsewhere, nor how
# much of its loss is chance. Whether a net would see more than an average is the question of the
# book.
# ```
#
# ## Summary
#
# - A system is a chain: bars, a view of them, a decision, a position, costs, money.
# - A decision is paid by the bar after it. If you forget that, any rule that follows the price
#   seems to earn, and one that goes against it seems to be ruined.
# - Costs are small each time and large together, because the rule changes its mind so often.
# - The best of many tries looks good on the bars that chose it.
# - Each link of the chain is a part of this book.
#
# ## Exercises
#
# ```{exercise} A seventh bar ★
# :label: ex-first-light-1
# Bar 7 of the table in section 2 closes at 104. Continue the row by hand: mean of three, above or
# not, held, return, money.
# ```
#
# ```{solution-start} ex-first-light-1
# :class: dropdown
# ```
# The mean of 107, 103 and 104 is 104.7, so the price is not above it. At the end of bar 6 the rule
# said «no», so nothing is held during bar 7, and the money stays.

# %%
seven = pd.concat([six, pd.Series([104.0], [7])])
held_7 = (seven > seven.rolling(3).mean()).shift(1, fill_value=False)
print(
    f"mean {seven.rolling(3).mean().iloc[-1]:.1f}, held "
    f"{bool(held_7.iloc[-1])}"
)

# %%
assert not held_7.iloc[-1]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The fee that it can bear ★★
# :label: ex-first-light-2
# Take the average of 192 bars instead of 48. How often does the rule change its mind, and at which
# fee does its profit end?
# ```
#
# ```{solution-start} ex-first-light-2
# :class: dropdown
# ```
# It changes its mind less than a third as often. The profit ends roughly where the number of changes
# times the fee equals the logarithm of what one dollar became without any.

# %%
slow, turns = system(close, 192, 0.0)
bearable = np.log(slow.iloc[-1]) / turns.sum()
left = system(close, 192, bearable)[0].iloc[-1] - 1
print(
    f"{int(turns.sum())} changes, {slow.iloc[-1] - 1:+.1%} without a "
    "fee"
)
print(f"ends at about {bearable:.2%} a change; left there: {left:+.1%}")

# %%
assert turns.sum() < turned.sum() / 3
assert abs(left) < 0.01

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} On the way down ★★
# :label: ex-first-light-3
# Let the rule hold −1 below the average instead of 0: it borrows bitcoin, sells it, and gains when
# the price falls. Does that help here, and why does it cost twice as much in fees?
# ```
#
# ```{solution-start} ex-first-light-3
# :class: dropdown
# ```
# It makes things worse, for two reasons. Each change now goes from +1 to −1, which sells twice
# the amount, so the fees double. And in a market that rose on the whole there was less fall than
# rise to be had.

# %%
both = (2 * (close > close.rolling(LENGTH).mean()) - 1.0).shift(
    1, fill_value=0.0
)
both.iloc[:LENGTH] = 0.0
swing = both.diff().abs().fillna(0.0)
end = (1 + both * move - swing * 0.00055).prod() - 1
print(
    f"{end:+.1%}, {swing.sum():.0f} amounts traded; before "
    f"{paid.iloc[-1] - 1:+.1%}"
)

# %%
assert end < paid.iloc[-1] - 1
assert abs(swing.sum() / turned.sum() - 2) < 0.02

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} On your own bars ★★★
# :label: ex-first-light-4
# Read a file of your own with `candles.read` ({ref}`ch-bring-your-own`), run the system and the
# search over forty lengths on its halves, and write down *before* you look which of the two numbers you
# expect to be larger, and by how much.
# ```
#
# ```{solution-start} ex-first-light-4
# :class: dropdown
# ```
# The same lines work on any closes. On a random walk, which nobody can foretell, the best of forty
# still looks better on the half that chose it, in most draws:

# %%
rng, wins = np.random.default_rng(0), []
for _ in range(60):
    walk = pd.Series(
        100 * np.exp(np.cumsum(rng.normal(0, 0.003, 4_000)))
    )
    one, two = walk[:2_000], walk[2_000:].reset_index(drop=True)
    ends = {n: system(one, n, 0.0)[0].iloc[-1] for n in lengths}
    chosen = max(ends, key=ends.get)
    wins.append(ends[chosen] > system(two, chosen, 0.0)[0].iloc[-1])
print(
    f"better on the half that chose it: {np.mean(wins):.0%} of 60 walks"
)

# %%
assert np.mean(wins) > 0.6

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Further reading
#
# {cite:t}`lopezdeprado2018` is a book-length list of what can be wrong with a curve of money, by
# somebody who has seen most of it.
