# %% [markdown]
# (ch-evening-2)=
# # An evening: which one may go
#
# **A net has five channels and one has to go: which instrument names it?**
#
# ```{admonition} What you will do
# :class: tip
# - ask gates, permutation and correlation which of five planted channels matter
# - leave each channel out, train anew, and see the order turn round
# - find the formula that takes one instrument to the other, and check it to nine digits
# - find two channels of which either may go, but not both
# - change a unit, and watch the gates answer to it while the market stays the same
# ```
#
# *You need* {ref}`ch-se-trader` and {ref}`ch-attention-by-regime`.
# *Runs* in under 40 s on two cores; the evening is yours.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from setrade import attention, candles, training
from setrade.models import SETrader
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
N = 4_000  # windows to learn from, and as many new ones
LOOKBACK = 4  # bars of a window
CUE = 0.45  # weight of the volume, where the own move has 1
SEEDS = (0, 1)

# %% [markdown]
# ## Why it is worth an evening
#
# Every channel costs something: a feed to pay, code to keep alive, one more line that may break at
# night. So the question which one may go comes up in each net that lives for a while, and there is
# always a table at hand that seems to answer it. {ref}`ch-attention-by-regime` held gates against
# permutation, and one of its exercises has two channels that say the same. Real channels are often of
# that kind: they repeat each other, and some may be useful only beside another. Here you plant both
# cases, and find that four instruments do not agree. Only one of them answers the question that you
# asked, and the others answer questions of their own.
#
# ## What is given
#
# A coin moves by itself and with the market. What foretells the next bar is its *own* move, but
# nobody reports that: an exchange reports the sum of the two. The made market has five channels:
#
# | channel | what it is |
# |---|---|
# | `coin` | own move plus market, with a small error |
# | `copy` | the same sum at a second exchange, with a larger error |
# | `market` | the move that all coins share |
# | `volume` | a cue of its own, less than half as strong |
# | `toss` | numbers from a random generator |
#
# The moves are real returns of the sample and the volumes its real volumes. Both are squashed by
# `tanh`, so that no single bar outweighs hundreds of others. Own move, market and volume are
# windows from three random places, and therefore know nothing of each other. The label is buy where
# the newest own move, plus `CUE` of the newest volume, plus chance, is above zero, and sell
# otherwise.
#
# To work with **your own bars**, put `candles.read("mine.parquet", "15min")` in place of
# `candles.sample()`. The checks ask for what was planted, and should hold for them too.

# %%
SAMPLE = candles.sample()
NAMES = ["coin", "copy", "market", "volume", "toss"]


# %%
def squashed(values):
    """Return values between about -2 and 2, with mean 0 and deviation
    1."""
    x = np.tanh((values - values.mean()) / values.std())
    return (x - x.mean()) / x.std()


# %%
MOVES = squashed(np.diff(np.log(SAMPLE["close"])))
VOLUMES = squashed(np.log1p(SAMPLE["volume"].to_numpy()))


# %%
def windows(values, n, rng):
    """Return n windows (n, LOOKBACK) from random places."""
    end = rng.integers(LOOKBACK, len(values) + 1, n)
    return values[end[:, None] + np.arange(-LOOKBACK, 0)]


# %%
def made(n, seed):
    """Return windows (n, 5, LOOKBACK), and 0 for sell or 2 for buy."""
    rng = np.random.default_rng(seed)
    own, market = (windows(MOVES, n, rng) for _ in range(2))
    volume, market = windows(VOLUMES, n, rng), 0.6 * market
    error = rng.normal(size=(3, n, LOOKBACK))
    coin = own + market + 0.15 * error[0]
    copy = own + market + 0.4 * error[1]
    x = np.stack([coin, copy, market, volume, error[2]], 1)
    chance = 0.5 * rng.normal(size=n)
    up = own[:, -1] + CUE * volume[:, -1] + chance > 0
    return torch.from_numpy(x).float(), torch.from_numpy(2 * up)


# %% [markdown]
# Every channel is then divided by its standard deviation over the windows to learn from, as
# {ref}`ch-se-trader` does with all its channels. So none of the five is louder than another.

# %%
X, Y = made(N, 1)
SPREAD = X.std((0, 2), keepdim=True)
X = X / SPREAD
NEW_X, NEW_Y = made(N, 2)
NEW_X = NEW_X / SPREAD


# %% [markdown]
# The net is a small `SETrader` with its gates on the inputs, so that each gate belongs to a channel.
# Two functions train it and ask it, and all steps use them.


# %%
def taught(x, y, seed):
    """Return a net with gates, after training on windows x."""
    training.seed_everything(seed)
    net = SETrader(x.shape[1], hidden=8)
    plan = training.Plan(6, lr=1e-2, batch_size=200, seed=seed)
    data = training.TensorSet(x, y)
    training.fit(net, data, plan=plan, progress=False)
    return net.cpu()


# %%
def loss(net, x, y):
    """Return the mean cross-entropy on windows x, in nats."""
    with torch.no_grad():
        return F.cross_entropy(net(x), y).item()


# %% [markdown]
# ## Step 1: gates and permutation
#
# ```{exercise} Guess, then measure
# :label: ex-evening-2-1
# Write down first, for each channel, whether you would let it go. Then train one net for each seed
# in `SEEDS` on all five channels, and keep the nets in the list `nets`. On the new windows take the
# mean gate of each channel, as a table `gates` with a row a seed. Take the loss that permutation of
# each channel adds, averaged over the nets, as a `Series` called `permuted`. Which channel would
# either instrument let go?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `net.gates(x)` and `attention.permutation_importance(net, x, y, seed=0)` have what you need. Use
# `NAMES` for the columns of the one and the index of the other.
# ```


# %%
def check_1(nets, gates, permuted):
    """Hold both instruments against what was planted, with slack."""
    assert gates.shape == (len(nets), 5)
    assert list(gates) == list(permuted.index) == NAMES
    assert gates.stack().between(0, 1).all()
    assert all(loss(net, NEW_X, NEW_Y) < 0.45 for net in nets)
    assert abs(permuted["toss"]) < 0.03
    assert permuted[["coin", "market", "volume"]].min() > 0.08


# %% [markdown]
# ```{solution-start} ex-evening-2-1
# :class: dropdown
# ```

# %%
nets = [taught(X, Y, seed) for seed in SEEDS]


# %%
def mean_gates(net, x):
    """Return the mean gate of each channel."""
    with torch.no_grad():
        return net.gates(x).mean(0).numpy()


# %%
def permutation(net, x):
    """Return what permutation of each channel adds to the loss."""
    rise_of = attention.permutation_importance
    rise = rise_of(net, x, NEW_Y, seed=0, repeats=2)
    return pd.Series(rise.numpy(), NAMES)


# %% tolerance={"decimals": 0.1, "effect": 0.15}
gates = pd.DataFrame([mean_gates(n, NEW_X) for n in nets], SEEDS, NAMES)
permuted = sum(permutation(n, NEW_X) for n in nets) / len(nets)
print(gates.round(2).to_string())
print(permuted.round(2).to_string())

# %%
check_1(nets, gates, permuted)

# %%
order = gates.mean().corr(permuted, method="spearman")
assert order > 0.6
assert gates["toss"].max() < gates.drop(columns="toss").min().min()
assert permuted["coin"] > permuted["market"] > permuted["copy"]

# %% [markdown]
# For once the two instruments agree. Permutation puts the coin first and the market second, and the
# gates order the five nearly so. Both would let the toss go first, and permutation would take the
# copy next. Whoever can pay for only one of two feeds, coin or market, would keep the coin.
# Remember that for step 3, and the agreement for step 6.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 2: keep what foretells
#
# ```{exercise} A filter by correlation
# :label: ex-evening-2-2
# A common filter trains no net at all. Correlate the newest value of each channel with the label, on
# the windows to learn from, and keep the channels beyond what chance does, which is three divided by
# the root of `N`. Both arrays are made below, and so is `CHANCE`. Call the correlations `alone` and
# the names that stay `kept`. Then train a net for each seed on these channels only, and call the mean
# loss that is added on the new windows `filtered`. Why is one channel that was thrown out so dear?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `np.corrcoef(a, b)[0, 1]` is one correlation. A function that takes names and a seed and returns the
# loss of a net trained on them will be useful again in the next step.
# ```

# %%
CHANCE = 3 / np.sqrt(N)
newest = X[:, :, -1].double().numpy()  # (N, 5)
label = Y.numpy() - 1.0  # -1 for sell, 1 for buy


# %%
def check_2(alone, kept, filtered):
    """Hold the filter against what was planted, with slack."""
    assert abs(alone["market"]) < CHANCE
    assert alone["coin"] > alone["volume"] > 3 * CHANCE
    assert set(kept) == {"coin", "copy", "volume"}
    assert 0.05 < filtered < 0.3


# %% [markdown]
# ```{solution-start} ex-evening-2-2
# :class: dropdown
# ```


# %%
def trained(names, seed):
    """Return the loss on new windows of a net with these channels."""
    rows = [NAMES.index(name) for name in names]
    net = taught(X[:, rows], Y, seed)
    return loss(net, NEW_X[:, rows], NEW_Y)


# %%
def added(names):
    """Return what the loss rises by with these channels only."""
    base = [loss(net, NEW_X, NEW_Y) for net in nets]
    return np.mean([trained(names, s) for s in SEEDS]) - np.mean(base)


# %% tolerance={"decimals": 0.03, "effect": 0.08}
foretold = [np.corrcoef(v, label)[0, 1] for v in newest.T]
alone = pd.Series(foretold, NAMES)
kept = [name for name in NAMES if abs(alone[name]) > CHANCE]
filtered = added(kept)
print(alone.round(2).to_string())
print(f"kept {', '.join(kept)}: loss added {filtered:.2f}")

# %%
check_2(alone, kept, filtered)

# %% [markdown]
# The market's correlation with the label is no more than chance, for a good reason: the label depends
# on the own move, of which the market knows nothing. Thrown out together with the toss, it costs far
# more than chance. The coin carries the own move *and* the market, and only a net that has both can
# take the one from the other. **A channel may foretell nothing and still be needed, because it cleans
# another one.** A filter that looks at one channel at a time cannot see that.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 3: leave it out
#
# ```{exercise} The question itself
# :label: ex-evening-2-3
# Now do what you want to know: leave each channel out in turn, train anew on the other four, with
# each seed, and take the loss that is added. Call the result `left_out`, a `Series` over `NAMES`.
# Before you run it, write down the order that you expect, given the orders of steps 1 and 2. Which
# channel would you give up now?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# Compare net by net with the same seed, as {ref}`ch-se-trader` compares twins. A loss below
# that of the full net by a hundredth or so is chance.
# ```


# %%
def check_3(left_out):
    """Hold the losses against what was planted, with slack."""
    assert list(left_out.index) == NAMES
    assert left_out[["copy", "toss"]].abs().max() < 0.03
    assert left_out[["market", "volume"]].min() > 0.05
    assert left_out["market"] > left_out["coin"] + 0.03


# %% [markdown]
# ```{solution-start} ex-evening-2-3
# :class: dropdown
# ```

# %% tolerance={"decimals": 0.03, "effect": 0.06}
rest = {name: [n for n in NAMES if n != name] for name in NAMES}
left_out = pd.Series({name: added(rest[name]) for name in NAMES})
print(left_out.round(2).to_string())

# %%
check_3(left_out)

# %%
assert permuted["coin"] > 1.4 * permuted["market"]
assert left_out["market"] > 1.5 * left_out["coin"]
assert left_out.idxmax() == "market"
assert left_out["volume"] > left_out["coin"]

# %% [markdown]
# **The order has turned round.** The coin, which permutation put far in front, can be left out for
# less than the market and for less than the volume. The market, which foretells nothing by itself, is
# the dearest of all. Nothing is wrong with the permutation: the net of step 1 does use the coin
# most, and would be lost without it. But a net that never had the coin learns to use the copy. So the
# two answers belong to two questions: what *this* net needs tonight, and what *a* net needs.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 4: from one to the other
#
# ```{exercise} Three columns, one formula
# :label: ex-evening-2-4
# Where a net is only a sum, everything can be worked out. Fit `label` by least squares to the five
# columns of `newest` and a constant. For each channel take three numbers, over the same windows: by how
# much the mean squared error rises when the channel is held at its mean and the weights stay
# (`held`); by how much it rises when the other four are fitted anew (`left`); and which share of the
# channel's own variance the other four foretell, by least squares again (`known`). Call the table
# `linear`, with a row a channel. Which formula takes you from `held` and `known` to `left`? Find it
# in the table first, and then say why it must hold.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `solved(table, target)` gives the weights of the columns, and the table needs a column of ones for
# the constant. Look at the channels whose `known` is nearly 0, and then at the two whose `known` is
# high. (Variances are those of `np.var`, which divides by the number of windows.) For the reason,
# split the channel into what the others foretell of it and a remainder.
# ```


# %%
def solved(table, target):
    """Return the weights of a least squares fit."""
    return np.linalg.lstsq(table, target, rcond=None)[0]


# %%
def check_4(linear):
    """Hold the three columns against least squares of its own."""
    assert list(linear.index) == NAMES
    ones = np.ones((N, 1))
    full = solved(np.c_[newest, ones], label)[:5]
    spread = newest.var(0)
    assert np.allclose(linear["held"], full**2 * spread, atol=1e-9)
    for k, name in enumerate(NAMES):
        others = np.c_[np.delete(newest, k, 1), ones]
        fit = others @ solved(others, newest[:, k])
        hidden = ((newest[:, k] - fit) ** 2).mean()
        known = 1 - hidden / spread[k]
        assert abs(linear.loc[name, "known"] - known) < 1e-9
        left = full[k] ** 2 * hidden
        assert abs(linear.loc[name, "left"] - left) < 1e-9


# %% [markdown]
# ```{solution-start} ex-evening-2-4
# :class: dropdown
# ```


# %%
def fitted(values, target):
    """Return weights and mean squared error of a least squares fit."""
    table = np.c_[values, np.ones(len(values))]
    weights = solved(table, target)
    return weights[:-1], np.mean((target - table @ weights) ** 2)


# %%
weights, error = fitted(newest, label)
linear = pd.DataFrame(index=NAMES, columns=["held", "left", "known"])
for k, name in enumerate(NAMES):
    others, spread = np.delete(newest, k, 1), newest[:, k].var()
    linear.loc[name] = [
        weights[k] ** 2 * spread,
        fitted(others, label)[1] - error,
        1 - fitted(others, newest[:, k])[1] / spread,
    ]
linear = linear.astype(float)
print(linear.round(3).to_string())

# %%
check_4(linear)

# %%
shown = linear["held"] * (1 - linear["known"])
assert np.allclose(linear["left"], shown, rtol=1e-9, atol=1e-12)
assert linear["known"]["coin"] > 0.85 > 0.4 > linear["known"]["market"]
assert linear["known"][["volume", "toss"]].max() < 0.01

# %% [markdown]
# The formula is `left = held * (1 - known)`, to nine digits. To see why, write the channel as
# $a = \hat a + u$, where $\hat a$ is the best that the other four can foretell of it, and $u$ is the
# remainder. With weight $w$ the fit uses $w \hat a + w u$. Without the channel, the others can supply
# $w \hat a$ themselves, by changing their weights. The remainder $u$ is uncorrelated with each of
# them, so that nothing of $w u$ can be replaced. What is lost is therefore $w^2$ times the variance
# of $u$, where holding the channel loses $w^2$ times the variance of $a$.
#
# Permutation adds twice what `held` does. {prf:ref}`prop-permutation-twice` says so of a fit without
# error, and an error that is uncorrelated with the channel, as it is after least squares, adds
# nothing to that. So in a sum, but for the factor of two, **permutation and leaving out differ by how
# much the other channels know of this one**. They know nearly all of the coin and of the copy, a
# quarter of the market, and nothing of the volume. The net of this page is no sum and its loss is not
# a square, yet the turn of step 3 is the one that the formula foretells.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 5: two at a time
#
# ```{exercise} Either, but not both
# :label: ex-evening-2-5
# The coin is cheap to leave out, and the copy costs nothing. Use least squares for all ten
# pairs: leave both out, fit anew, and take what the error rises by beyond the sum of the two single
# `left`. Call it `beyond`, a dict with pairs of names as keys, in the order of `NAMES`. For which
# pair do two cheap channels make a dear one? Leave that pair out of the net, and call the added
# loss `both`. Is there also a pair that costs *less* than the sum, and why?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `itertools.combinations(NAMES, 2)` lists the pairs. For the last question ask what the market is
# good for once the coin has gone.
# ```


# %%
def check_5(beyond, both):
    """Hold the pairs against what was planted, with slack."""
    assert set(beyond) == set(combinations(NAMES, 2))
    dear = max(beyond, key=beyond.get)
    assert dear == ("coin", "copy") and beyond[dear] > 0.3
    assert min(beyond, key=beyond.get) == ("coin", "market")
    assert 0.2 < both < 0.6


# %% [markdown]
# ```{solution-start} ex-evening-2-5
# :class: dropdown
# ```

# %%
beyond = {}
for pair in combinations(NAMES, 2):
    gone = [NAMES.index(name) for name in pair]
    after = fitted(np.delete(newest, gone, 1), label)[1]
    beyond[pair] = after - error - linear["left"][list(pair)].sum()
for pair, more in beyond.items():
    if abs(more) > 0.01:
        print(f"{' and '.join(pair)}: {more:+.3f} beyond the sum")

# %% tolerance={"decimals": 0.04, "effect": 0.15}
both = added(["market", "volume", "toss"])
one = left_out[["coin", "copy"]].sum()
spare = added(["coin", "market", "volume"])
print(f"net: coin and copy one by one {one:.2f}, both {both:.2f}")
print(f"net: copy and toss both {spare:.2f}")

# %%
check_5(beyond, both)
small = [v for p, v in beyond.items() if "coin" not in p]
assert max(map(abs, small)) < 0.005
assert both > 4 * one
assert abs(spare) < 0.06
gone = ["copy", "toss"]
assert linear["left"][gone].sum() + beyond[tuple(gone)] < 0.005

# %% [markdown]
# Coin and copy stand in for each other, so that the loss of one is covered and the loss of both is
# not. A list of channels that can each be left out is therefore **not a list of channels that can
# be left out**. Take one away, and ask all the others anew. Coin and market are the other way
# round: once the coin has gone, only the copy is left to be cleaned, whose error is larger, so that
# the market has less to do. Pairs that share nothing, such as the volume with any other, cost the
# sum of their parts. So the answer to the question of this page is the toss or the copy, and these
# two may even go together, in the sum and in the net.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## Step 6: another unit
#
# ```{exercise} What do the gates answer?
# :label: ex-evening-2-6
# Somebody reports the market in other units, so that all its values are three times smaller, and
# nobody scales the channel anew. Then somebody else makes them three times larger instead. Train the
# nets anew in both cases and take gates and permutation as in step 1. Call the results `units`, a
# dict with the keys `1 / 3` and `3`, and a tuple (mean gates, permutation) of two `Series` for each.
# Foretell first what either instrument will say of the market.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# Multiply the channel in `X` *and* in `NEW_X`. What must a net do to compute what it computed before?
# ```


# %%
def check_6(units):
    """Hold gates and permutation against other units, with slack."""
    (small, few), (large, many) = units[1 / 3], units[3]
    assert small["market"] > large["market"] + 0.08
    assert abs(few["market"] - many["market"]) < 0.12
    assert min(few["market"], many["market"]) > 0.2


# %% [markdown]
# ```{solution-start} ex-evening-2-6
# :class: dropdown
# ```


# %%
def in_units(times):
    """Return mean gates and permutation with the market in other
    units."""
    x, new_x = X.clone(), NEW_X.clone()
    x[:, 2] *= times
    new_x[:, 2] *= times
    made = [taught(x, Y, seed) for seed in SEEDS]
    gate = np.mean([mean_gates(net, new_x) for net in made], 0)
    lost = sum(permutation(net, new_x) for net in made) / len(made)
    return pd.Series(gate, NAMES), lost


# %% tolerance={"decimals": 0.12, "effect": 0.16}
units = {times: in_units(times) for times in (1 / 3, 3)}
for times, (gate, lost) in units.items():
    print(
        f"market times {times:.2f}: gate {gate['market']:.2f}, the "
        f"permutation adds {lost['market']:.2f}"
    )

# %%
check_6(units)

# %%
small, large = units[1 / 3][0], units[3][0]
assert small.idxmax() == "market"
assert small["market"] < 2 * large["market"]
assert (large.drop(["market", "toss"]) > large["market"] - 0.03).all()

# %% mystnb={"figure": {"caption": "What four instruments say of five channels. Triangles: the market's gate where the channel was three times smaller (pointing left) or larger (pointing right).", "name": "fig-evening-two"}, "image": {"alt": "Four panels with a bar for each of five channels. By correlation coin and copy lead and the market has none. The gates lie between 0.4 and 0.7, and the triangles of the market lie to the right and to the left of the end of its bar. By permutation the coin is far ahead of market, volume and copy. Left out, the market is dearest, then volume, then coin, and copy and toss cost nothing."}}
told = {"correlation": alone.abs(), "mean gate": gates.mean()}
told |= {"permutation": permuted, "left out": left_out}
fig, axes = plt.subplots(1, 4, sharey=True, figsize=(7.4, 2.6))
for ax, (name, values) in zip(axes, told.items(), strict=True):
    last = name == "left out"
    ax.barh(NAMES, values, color=UP if last else NEUTRAL)
    ax.set_title(name)
    ax.axvline(0, color="black", lw=0.8)
for mark, gate in zip("<>", (small, large), strict=True):
    axes[1].plot(gate["market"], 2, mark, color=DOWN, ms=7)
axes[0].invert_yaxis()
axes[2].set_xlabel("loss added (nats)")
axes[3].set_xlabel("loss added (nats)")
plt.show()

# %% [markdown]
# To compute what it computed before, a net needs the *product* of gate and weight three times as
# large when the channel is three times smaller. Which of the two grows is not fixed by the outputs
# ({prf:ref}`prop-gates-not-fixed`). Here the gate takes a part of it, and the weights behind the
# gate have to take the rest, because the gate does not even double. So the market's gate is the
# largest of all in the one unit, and among the smallest in the other, in nets that use the market
# as much, if permutation is right. Permutation stays where it was. **A gate answers how much a
# channel is amplified in the unit in which it comes.** The agreement in step 1 rested on the
# division by the standard deviations, which made the units alike.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## What to conclude, and what not
#
# You may conclude that the four instruments answer four questions. Correlation asks what a channel
# foretells alone. Permutation asks what this net would lose tonight, if the feed broke. Leaving out
# and training anew asks what a net would lose for good, if the contract ended. A gate asks
# how a channel is amplified. Your question was the third one, and only the third instrument answers
# it, one channel after the other.
#
# You may not conclude that permutation misleads, because for a feed that fails at night it is the
# right one. Nor may you conclude that gates and permutation agree once channels are standardised:
# they did so in this market, and {ref}`ch-attention-by-regime` has four in which they did not. And
# the formula of step 4 is proved for sums that are fitted by least squares. For a net it was only
# seen to point the right way.
#
# ## Go on
#
# 1. **Give the copy no error.** Make `copy` equal to `coin`, and foretell all four instruments for
#    both before you look. Two of them have no single right answer any more: which, and what do the
#    seeds decide?
# 2. **Your own channels.** Take five channels of {ref}`ch-channels` on bars of your own, and let the
#    least squares of steps 4 and 5 say which of them the others know, and which pairs cover for each
#    other. Then leave out one channel of such a pair, train your net anew with three seeds, and see
#    whether the loss agrees.
