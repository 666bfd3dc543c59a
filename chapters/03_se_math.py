# %% [markdown]
# (ch-se-math)=
# # The mathematics of squeeze and excitation
#
# **How can a net turn one indicator up and another down, bar by bar, from what it sees?**
#
# ```{admonition} What you will do
# :class: tip
# - compute a squeeze-and-excitation block with a pencil, then in NumPy, then in PyTorch
# - derive its gradient and check it
# - count its parameters and read what the reduction ratio costs in time
# - draw gates over time on real bars, and say what they do not mean
# - break the block with a normalisation that looks harmless, and fix it
# ```
#
# *You need* {ref}`ch-candles` and {ref}`ch-channels`. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

from setrade import candles, channels, plots, races, se
from setrade.plots import use_style

use_style()

# %% tags=["parameters"]
LENGTH = 60  # bars in a window
N_DRAWS = 200  # untrained blocks to compare
N_DAYS = 10  # days in the figure of gates over time

# %% [markdown]
# ## 1 One fader for each channel
#
# The channels of {ref}`ch-channels` are ready for a net. If it weighs them the same at all times, it
# misses a channel that foretells a rise in one regime and a fall in another, as one does in the
# synthetic market of {ref}`ch-candles`. So think of a mixing desk on which each channel of the market
# has a fader: one for RSI, one for volume, one for ATR. In a steady trend you may want to hear
# momentum and little else, while in a range the Bollinger position may say more. Somebody has to move
# the faders.
#
# A squeeze-and-excitation block {cite:p}`hu2018` lets a small net move them. It summarises each
# channel of a window by one number, sends the summaries through two small layers, and multiplies
# each channel by the number that comes out for it.
#
# ```{prf:definition} Squeeze, excitation and gate
# :label: def-se-block
#
# Let $X$ be a window of $C$ channels and $T$ bars with the entries $x_{ct}$. Let $W_1$ be an
# $H \times C$ and $W_2$ a $C \times H$ matrix, $b_1$ and $b_2$ vectors of $H$ and of $C$ numbers,
# $\delta(a) = \max(a, 0)$ the rectifier and $\sigma(a) = 1 / (1 + e^{-a})$ the sigmoid, both
# applied to each entry.
#
# 1. **Squeeze.** Summarise each channel by one number, its mean over the window.
# 2. **Excite.** Send the $C$ summaries through two small layers, and the result through a
#    sigmoid.
# 3. **Scale.** Multiply each channel by its number.
#
# $$z_c = \frac{1}{T} \sum_{t=1}^{T} x_{ct}, \qquad
# s = \sigma\big(W_2\, \delta(W_1 z + b_1) + b_2\big), \qquad
# \tilde x_{ct} = s_c\, x_{ct}.$$
#
# The numbers $s_c$ are the **gates**. The whole number $r \ge 1$ that sets the width of the hidden
# layer, $H = \max(1, \lfloor C/r \rfloor)$, is the **reduction ratio**.
# ```
#
# <div data-move="se_block">
#
# :::{figure-md} fig-diagram-se-block
# ![A window of four channels is squeezed to one mean a channel. Two small layers turn the four means into two hidden numbers and these into four gates. Each gate multiplies its channel of the same window.](_static/diagrams/se_block.svg)
#
# The block in one picture: each channel of the window comes out multiplied by its gate.
# :::
#
# The picture moves where scripts are on: a fader shifts one channel of a small window, and all
# gates that listen to it answer. It starts with the numbers of the next section, which are also
# there to read. Raise the volume until the first hidden unit falls **silent**, which means that the
# rectifier makes it 0, and see which gates return to a half.
#
# </div>
#
# The sigmoid keeps the gates between 0 and 1. The first layer narrows $C$ numbers to $C/r$, where
# $r$ divides $C$, and the second widens them again. All channels meet in the narrow layer, so the
# gate of RSI may depend on the volume.

# %% [markdown]
# ## 2 With a pencil
#
# Take four channels, three bars, $r = 2$ and biases of zero, with numbers chosen so that you can
# follow on paper.

# %%
names = ["return", "volume", "range", "rsi"]
# (C, T)
X = np.array([[1, 2, 3], [0, 1, 2], [2, 2, 2], [-1, 0, 1]], float)
W1 = np.array([[1, -1, 0, 0], [0, 0, -1, 1]], float)  # (C/r, C)
W2 = np.array([[1, 0], [-1, 0], [0, 1], [0, 2]], float)  # (C, C/r)

# %% [markdown]
# The means are $z = (2, 1, 2, 0)$. The first hidden unit compares return with volume, which gives
# $2 - 1 = 1$. The second compares RSI with range, which gives $-2 + 0 = -2$, and $\delta$ turns
# it into 0. So the logits are $(1, -1, 0, 0)$: return is turned up, volume down, and the other
# two stay at a half, because the unit that drives them is silent.


# %%
def se_by_hand(X, W1, W2):
    z = X.mean(-1)  # squeeze: (C, T) -> (C,)
    hidden = np.maximum(W1 @ z, 0)  # excite: (C,) -> (C/r,)
    s = 1 / (1 + np.exp(-(W2 @ hidden)))  # (C/r,) -> (C,)
    return z, hidden, s, s[:, None] * X  # scale


z, hidden, s, X_tilde = se_by_hand(X, W1, W2)
pd.DataFrame({"z": z, "gate": s.round(3)}, index=names)

# %%
assert z.tolist() == [2, 1, 2, 0]
assert hidden.tolist() == [1, 0]
np.testing.assert_allclose(
    s, [np.e / (1 + np.e), 1 / (1 + np.e), 0.5, 0.5]
)

# %% [markdown]
# The picture below is the whole block: the window, what is left of it after the squeeze, the
# gates, and the window after the scale step.

# %% mystnb={"figure": {"caption": "A squeeze-and-excitation block on four channels and three bars, computed with a pencil.", "name": "fig-se-pencil"}, "image": {"alt": "Four panels: a 4 by 3 window of numbers, the bar chart of its row means, the gates 0.73, 0.27, 0.50 and 0.50, and the window with each row multiplied by its gate. The return row keeps most of its size, the volume row loses most of it."}}
size = {"figsize": (7.2, 2.4), "width_ratios": [3, 2, 2, 3]}
fig, axes = plt.subplots(1, 4, sharey=True, **size)
for ax, table in ((axes[0], X), (axes[3], X_tilde)):
    ax.imshow(table, cmap="PuOr_r", vmin=-3, vmax=3, aspect="auto")
    ax.set_xticks(range(3), ["1", "2", "3"])
    ax.set_xlabel("bar")
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if abs(value) > 1.9 else "black"
        told = {"ha": "center", "va": "center", "color": colour}
        ax.text(column, row, f"{value:.2g}", **told)
for ax, values in ((axes[1], z), (axes[2], s)):
    ax.barh(range(4), values)
    ax.set_xlabel("no unit")
titles = ("window X", "squeeze z", "gates s", "scaled")
for ax, title in zip(axes, titles, strict=True):
    ax.set_title(title)
    ax.grid(False)
axes[0].set_yticks(range(4), names)
plt.show()

# %%
np.testing.assert_allclose(
    X_tilde[0], np.array([1, 2, 3]) * 0.731, atol=2e-3
)
np.testing.assert_allclose(X_tilde[2], 1.0)  # 2 times a half

# %% [markdown]
# ## 3 In PyTorch
#
# A net sees many windows at once, so the tensor is `(batch, channels, time)`, newest bar last.
# Two linear layers on the squeezed vector are all there is to learn.


# %%
class SmallSE(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.reduce = nn.Linear(channels, channels // reduction)
        self.expand = nn.Linear(channels // reduction, channels)

    def forward(self, x):  # (B, C, T)
        z = x.mean(-1)  # (B, C)
        s = self.expand(self.reduce(z).relu()).sigmoid()  # (B, C)
        return x * s[:, :, None]  # (B, C, T)


# %% [markdown]
# We copy the pencil's weights into it, and into the block that the rest of the book uses,
# `setrade.se.SEBlock`, and all three agree.

# %%
small, block = SmallSE(4, reduction=2), se.SEBlock(4, reduction=2)
for net in (small, block.excite):
    for layer, weight in ((net.reduce, W1), (net.expand, W2)):
        layer.weight.data = torch.tensor(weight, dtype=torch.float32)
        layer.bias.data.zero_()
x = torch.tensor(X, dtype=torch.float32)[None]  # a batch of one
for net in (small, block):
    np.testing.assert_allclose(net(x)[0].detach(), X_tilde, rtol=1e-6)

# %% [markdown]
# Two details of `SEBlock` are worth knowing. Its hidden layer never has fewer than one unit,
# whatever the ratio, because without a unit no summary would reach the gates. And its weights
# start from numbers on both sides of zero, with standard deviation
# $\sqrt{2/(n_\text{in} + n_\text{out})}$ for a layer with $n_\text{in}$ inputs and $n_\text{out}$
# outputs {cite:p}`glorot2010`. {ref}`ex-se-2` shows what happens where all of them are positive.

# %%
assert se.SEBlock(4, reduction=100).excite.hidden == 1
print(block.gates(x).detach().numpy().round(3))

# %% [markdown]
# ## 4 What the gradient sees
#
# A block learns only from the gradient that passes through it, so it is worth knowing where that is
# lost. The gradient that arrives from the layers behind the block reaches a gate through every bar of
# its channel, and then has to pass the sigmoid. It reaches a bar on two paths. One is the
# multiplication itself, while the other goes through the squeeze, and there it is the same for all
# bars of a channel.
#
# ```{prf:proposition} The gradient of the block
# :label: prop-se-gradient
#
# Let the loss $L$ be a differentiable function of the scaled window $\tilde X$ alone, let
# $g_{ct} = \partial L / \partial \tilde x_{ct}$, and let no entry of $W_1 z + b_1$ be zero. Then,
# where $\partial L / \partial s_c$ is taken with the window held and $d_c$ is the derivative of $L$
# by the logit of gate $c$,
#
# $$\frac{\partial L}{\partial s_c} = \sum_t g_{ct}\, x_{ct}, \qquad
# d_c = s_c (1 - s_c)\, \frac{\partial L}{\partial s_c},$$
#
# $$\frac{\partial L}{\partial x_{ct}} = \underbrace{s_c\, g_{ct}}_{\text{scale}} \;+\;
# \underbrace{\frac{1}{T} \Big[ W_1^\top \big( \mathbb 1[W_1 z + b_1 > 0] \odot W_2^\top d \big)
# \Big]_c}_{\text{squeeze}}.$$
#
# The symbol $\mathbb 1$ is 1 for each entry that is positive and 0 for the others, and $\odot$
# multiplies entry by entry.
# ```
#
# ```{prf:proof}
# The gate $s_c$ multiplies every bar of channel $c$, which gives the sum, and
# $\sigma' = \sigma (1 - \sigma)$ gives $d_c$. From the logits $W_2^\top$ carries $d$ back to the
# hidden units, the rectifier passes it on where its input is positive, and $W_1^\top$ carries it to
# $z_c$, in which each bar of the channel has the weight $1/T$. The bar also enters $\tilde x_{ct}$
# itself, with the weight $s_c$, and by the chain rule the two paths add up.
# ```

# %%
g = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 1, 1]], float)
d = s * (1 - s) * (g * X).sum(-1)
through_squeeze = W1.T @ ((W1 @ z > 0) * (W2.T @ d)) / X.shape[1]
by_hand = s[:, None] * g + through_squeeze[:, None]

# %%
x.requires_grad_()
block.zero_grad()
block(x).backward(torch.tensor(g, dtype=torch.float32)[None])
np.testing.assert_allclose(x.grad[0], by_hand, rtol=1e-5, atol=1e-7)

# %% [markdown]
# Two facts about learning follow from the formula. The factor $s(1-s)$ is at most a quarter, and
# close to 0 when a gate is nearly shut or fully open, so that such a gate learns slowly. And a
# hidden unit that is silent for a window passes nothing back. The pencil block has such a unit,
# the second one, and its weights receive a gradient of exactly zero.

# %%
# + 0: no -0
print(block.excite.reduce.weight.grad.numpy().round(3) + 0)
assert (block.excite.reduce.weight.grad[1] == 0).all()
assert (block.excite.reduce.weight.grad[0, :3].abs() > 0.1).all()

# %% [markdown]
# ## 5 What the reduction ratio costs
#
# The weights number $C \cdot C/r + C/r \cdot C = 2C^2/r$, and the biases $C + C/r$. The SE
# chapter says that a smaller $r$ gives more capacity at a higher cost, and recommends $r = 4$ or
# $r = 2$ for 10 to 50 channels. The first half is a formula, so we can count it, and we can
# measure its price in time.

# %%
ratios = (1, 2, 4, 8, 16)


def n_parameters(C, r):
    return sum(p.numel() for p in se.SEBlock(C, r).parameters())


count = pd.DataFrame(
    {
        f"{C} channels": [n_parameters(C, r) for r in ratios]
        for C in (16, 32, 50, 512)
    },
    index=pd.Index(ratios, name="r"),
)
count

# %%
for C in (16, 32, 512):
    law = [2 * C**2 // r + C + C // r for r in ratios]
    assert count[f"{C} channels"].tolist() == law

# %% [markdown]
# <!-- number: 256, 60 from tests/benchmarks/bench_se.py -->
# The times come from the stored race `bench.json`, which `make bench BENCH=se` repeats: one
# forward and one backward pass over 256 windows of 60 bars. Of several processors that ran it,
# the table has the median.

# %%
relative = pd.DataFrame(
    index=[f"r{r}" for r in ratios], columns=[32, 512], dtype=float
)
for C in relative:
    for r in relative.index:
        # by processor
        times = races.ratios(f"test_se_reduction[{C}]", r)
        relative.loc[r, C] = np.median(list(times.values()))
relative /= relative.loc["r4"]
relative.round(2)

# %% mystnb={"figure": {"caption": "Parameters and time of an SE block against the reduction ratio.", "name": "fig-se-reduction"}, "image": {"alt": "Left: parameters against the reduction ratio on two logarithmic axes, four parallel falling lines from 16 to 512 channels. Right: time of a training step relative to ratio 4. The line for 32 channels is nearly flat, the line for 512 channels falls as the ratio grows."}}
fig, (left, right) = plt.subplots(1, 2)
for C, marker in zip(count, "osD^", strict=True):
    left.loglog(ratios, count[C], marker=marker, label=C)
left.set(xlabel="reduction ratio r", ylabel="parameters")
left.legend()
for C, marker in ((32, "s"), (512, "^")):
    right.plot(
        ratios, relative[C], marker=marker, label=f"{C} channels"
    )
right.set(
    xlabel="reduction ratio r", ylabel="time of a step (r = 4 is 1)"
)
right.set(xscale="log", ylim=(0, 1.1 * relative.to_numpy().max()))
right.legend()
for ax in (left, right):
    ax.set_xticks(ratios, ratios)
    ax.minorticks_off()
plt.show()

# %%
# nothing that a trader would feel
assert relative[32].max() / relative[32].min() < 1.5
assert relative[512]["r1"] > relative[512]["r16"]

# %% [markdown]
# With 32 channels the ratio hardly changes the time, although it changes the work of the two layers
# sixteenfold, so they must cost little beside the rest, which is reading and writing the window.
# With 512 channels, as deep inside a picture net, it does. So for a handful of indicators the cost is
# no reason to choose $r = 4$ over $r = 1$.
#
# What is left is capacity, and there the ratio does set a limit, because all gates are functions of
# the hidden units.
#
# ```{prf:proposition} The reach of a narrow layer
# :label: prop-se-rank
#
# In a block as in {prf:ref}`def-se-block`, the logits of any set of windows, less $b_2$, span at
# most $H$ dimensions.
# ```
#
# ```{prf:proof}
# Less $b_2$ the logits of a window are $W_2 h$ with $H$ hidden numbers $h$, and so a combination of
# the $H$ columns of $W_2$, which are the same for every window.
# ```
#
# With $r = 8$ and 16 channels these are two dimensions. The sixteen faders then cannot move
# independently, because only two numbers move them all.

# %%
torch.manual_seed(0)
many = torch.randn(500, 16, LENGTH)
for r in (1, 2, 4, 8):
    free = se.SEBlock(16, r)
    logits = free.excite(many.mean(-1)).detach().double()
    # the biases are still 0
    rank = torch.linalg.matrix_rank(logits, rtol=1e-4)
    print(f"r = {r}: {rank.item():2d} dimensions")
    assert rank <= 16 // r

# %% [markdown]
# <!-- number: 50 from book/claims.yml -->
# Whether $r = 4$ or $r = 2$ *predicts* better on 10 to 50 channels is a claim about markets,
# which nothing in this chapter can decide. Its evidence, or the lack of it, is listed in the
# claims ledger, after the tools of {ref}`ch-honest-evaluation` are in place.

# %% [markdown]
# ## 6 Gates over time on real bars
#
# Now we turn to real candles, and take the eight channels that the SE chapter names in its table
# of regimes, without units, standardised with the first 70 % of the bars.

# %%
eight = ["rsi", "macd", "adx", "volume", "atr"]
eight += ["bollinger_percent_b", "vwap", "keltner_upper"]
bars = candles.sample()
features = channels.compute(bars, scale_free=True)[eight].dropna()
n_train = int(0.7 * len(features))
scaled = (
    channels.Standardizer().fit(features[:n_train]).transform(features)
)

# %% [markdown]
# One window ends at each bar, and `unfold` cuts them as views, `(N, 8, 60)`.

# %%
values = torch.tensor(scaled.to_numpy(), dtype=torch.float32)
windows = values.unfold(0, LENGTH, 1)  # (N, C, T)
ends = scaled.index[LENGTH - 1 :]
assert torch.equal(windows[-1, :, -1], values[-1])

# %%
torch.manual_seed(3)
untrained = se.SEBlock(len(eight), reduction=2)
with torch.no_grad():
    G = pd.DataFrame(
        untrained.gates(windows).numpy(), index=ends, columns=eight
    )
shown = G.iloc[-N_DAYS * 96 :]

# %% mystnb={"figure": {"caption": "Bitcoin in dollars, and the gates of an SE block that has learned nothing: orange above one half, violet below.", "name": "fig-se-gates-untrained"}, "image": {"alt": "Above, ten days of the Bitcoin price. Below, a strip of eight gates over the same days. The gates move smoothly with the market, some rise while others fall, although the block is untrained."}}
plots.gates_over_time(bars.close[shown.index], shown)
plt.show()

# %% [markdown]
# It looks like insight, because the strip reacts to the market, some channels are turned up as others
# are turned down, and one could tell a story about each hour. But nothing was trained. The gates move
# because their input moves; which channel they favour was decided by the random numbers that we
# drew.

# %%
assert shown.std().min() > 0  # every gate moves
assert (G > 0).all(axis=None)
assert (G < 1).all(axis=None)

# %% [markdown]
# To see it, draw the block many times, and for each draw take the mean gate of each channel.


# %%
def mean_gates(seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        return (
            se.SEBlock(len(eight), reduction=2)
            .gates(windows[::10])
            .mean(0)
            .numpy()
        )


# (draws, C)
drawn = np.stack([mean_gates(seed) for seed in range(N_DRAWS)])
print(f"mean {drawn.mean():.2f}, standard deviation {drawn.std():.2f}")

# %%
winner = np.bincount(drawn.argmax(1), minlength=len(eight)) / N_DRAWS
agreement = spearmanr(drawn.T).statistic[np.triu_indices(N_DRAWS, 1)]

# %% mystnb={"figure": {"caption": "Which channel an untrained block favours is a matter of the draw.", "name": "fig-se-untrained-winners"}, "image": {"alt": "Left: how often each of eight channels has the highest mean gate over the random draws; all bars lie near one eighth. Right: histogram of rank correlations between pairs of draws, wide and centred at zero."}}
fig, (left, right) = plt.subplots(1, 2)
left.barh(eight, winner)
left.axvline(1 / 8, color="black", ls="--")
left.set(
    xlabel="share of draws in which it ranks first",
    title="dashed: one in eight",
)
# eight ranks: steps of 1/42
right.hist(agreement, bins=np.arange(-42.5, 46, 5) / 42)
right.set(xlabel="rank correlation of two draws", ylabel="pairs")
plt.show()

# %%
assert abs(drawn.mean() - 0.5) < 0.02
assert winner.min() > 0.02
assert winner.max() < 0.30
assert abs(agreement.mean()) < 0.05

# %% [markdown]
# Every channel wins sometimes, and two draws agree no better than chance, so untrained gates do
# not tell which channel is important. {ref}`ch-attention-by-regime` asks what *trained* gates are
# worth, and uses markets with a planted truth to find out.

# %% [markdown]
# ## What goes wrong
#
# A popular recipe scales each window by itself: subtract its mean, divide by its standard
# deviation. Nothing from the future leaks in, and every window looks alike to the net. But then
# the mean squeeze takes the mean of each channel, and that is zero, by construction.

# %%
raw = torch.tensor(features.to_numpy(), dtype=torch.float32).unfold(
    0, LENGTH, 1
)[::10]
per_window = (raw - raw.mean(-1, keepdim=True)) / raw.std(
    -1, keepdim=True
)
with torch.no_grad():
    dead = untrained.gates(per_window)
print(f"gates from {dead.min():.3f} to {dead.max():.3f}")

# %%
assert (dead - 0.5).abs().max() < 1e-4

# %% [markdown]
# Every gate of every window is one half, so the block has become a division by two. Training does
# not help much, because it can change the gates only for all windows at once.
#
# ```{prf:proposition} A squeeze of zeros
# :label: prop-se-zero-mean
#
# If every channel of every window has the mean zero, then in a block as in {prf:ref}`def-se-block`
# the gates of all windows are $s = \sigma(W_2\, \delta(b_1) + b_2)$. If moreover $b_1$ and $b_2$
# are zero, all of them are one half.
# ```
#
# ```{prf:proof}
# The squeeze is $z = 0$, which leaves no trace of the window in $s$, and $\sigma(0) = 1/2$.
# ```
#
# So the gates end as constants. No error is raised, the rest of a net can learn as usual, and the
# block answers to nothing.
#
# The fix is to scale with statistics of the *training bars*, the same for every window, as
# section 6 did. Then a window in which volume is high has a high mean, and the gate can respond
# to it.

# %%
with torch.no_grad():
    alive = untrained.gates(windows[::10])
print("spread of each gate:", alive.std(0).numpy().round(2))
assert alive.std(0).max() > 100 * dead.std(0).max()

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A mixing desk on which a small net moves a fader for each channel is a picture of
# what the block does to a window. It does not say why a fader stands where it stands.
#
# *Proved.* The gradient reaches a bar on two paths ({prf:ref}`prop-se-gradient`), a narrow layer
# limits how independently the gates can move ({prf:ref}`prop-se-rank`), and windows of mean zero
# make every gate a constant ({prf:ref}`prop-se-zero-mean`). How many parameters the block has is
# counted.
#
# *Measured here.* In the stored race the ratio hardly changed the time of a step with tens of
# channels, and did with hundreds. On real bars the gates of untrained blocks followed the market,
# and which channel they favoured was decided by the draw.
#
# *Open.* Which ratio forecasts better on a few dozen channels is undecided in the ledger. What
# gates tell once a block is trained was not asked here.
# ```
#
# ## Summary
#
# - Squeeze, excite, scale: a mean per channel, two small layers, one multiplication.
# - The gate of a channel depends on all channels, and on its window alone.
# - The gradient reaches a bar through the multiplication and through the squeeze; silent
#   hidden units and saturated gates pass little or nothing.
# - The block has $2C^2/r + C + C/r$ parameters. For tens of channels the ratio costs next to
#   no time; it limits how independently the gates can move.
# - Gates that were never trained follow the market too, because their input does, and mean
#   nothing.
# - Scaling each window by itself makes every mean zero, and so the mean squeeze passes nothing
#   on.
#
# ## Exercises
#
# ```{exercise} The same bars in another order ★
# :label: ex-se-1
# In the pencil example the returns are 1, 2, 3. If they were 3, 2, 1 instead, which gates would
# change? Write down your answer before you compute.
# ```
#
# ```{solution-start} ex-se-1
# :class: dropdown
# ```
# No gate changes, because the mean of the row is still 2, so $z$, the hidden units and the gates
# are the same: the mean squeeze does not know the order of bars. {ref}`ch-squeeze-variants` looks
# for squeezes that do.

# %%
X_turned = X.copy()
X_turned[0] = [3, 2, 1]
assert (se_by_hand(X_turned, W1, W2)[2] == s).all()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Weights of one sign ★★
# :label: ex-se-2
# The SE chapter draws its weights as `random() * scale`, with `random()` between 0 and 1. Let
# the biases be 0. Show that no gate can then be below one half, whatever the market does.
# ```
#
# ```{solution-start} ex-se-2
# :class: dropdown
# ```
# After the ReLU the hidden units are at least 0. If all of $W_2$ is positive and the biases
# are 0, so are the logits, and $\sigma(a) \ge 1/2$ for $a \ge 0$. The block can turn channels
# up, or leave them at a half, but turn none down.

# %%
one_sign = se.SEBlock(len(eight), reduction=2)
for layer in (one_sign.excite.reduce, one_sign.excite.expand):
    layer.weight.data = torch.rand_like(layer.weight)
with torch.no_grad():
    up, both = (
        one_sign.gates(windows[::10]), untrained.gates(windows[::10]),
    )
print("below one half:", (up < 0.5).sum().item(), "of", up.numel())

# %%
assert not (up < 0.5).any()
assert (both < 0.5).float().mean() > 0.2

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A budget of parameters ★★
# :label: ex-se-3
# You have 50 channels and may spend 1,000 parameters on the block, biases included. Which whole
# number is the smallest $r$ that fits? Work it out, then count, and mind that the hidden layer
# has $\lfloor C/r \rfloor$ units.
# ```
#
# ```{solution-start} ex-se-3
# :class: dropdown
# ```
# With $h$ hidden units the block has $2 \cdot 50\,h + 50 + h = 101\,h + 50$ parameters, and at
# most 1,000 of them means $h \le 9$. The first $r$ with $\lfloor 50/r \rfloor \le 9$ is 6, which
# gives $h = 8$ and 858 parameters, while no $r$ gives 9.

# %%
assert n_parameters(50, 5) == 1060
assert n_parameters(50, 6) == 858
assert 101 * 9 + 50 <= 1_000 < 101 * 10 + 50
assert 9 not in [50 // r for r in range(1, 51)]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Gates of your own channels ★★★
# :label: ex-se-own
# Compute channels of your own bars, standardise them on the first 70 %, and draw an untrained
# block over them, as section 6 did. Write down which channel it favours and a sentence that
# explains why it should. Then draw nineteen more blocks, and count how many of them support your
# sentence.
# ```
#
# ```{solution} ex-se-own
# :class: dropdown
# With $C$ channels, about one draw in $C$ favours the same channel as yours did, whatever your
# sentence says. If many more do, the cause is in the input and not in the weights: a channel that
# was not standardised, or one that is nearly always on one side of zero, has a larger mean than the
# others and moves every gate more. Look at the mean of each channel over the windows before you
# look at another gate.
# ```
#
# ## Further reading
#
# The block and its ablations are by {cite:t}`hu2018`; the version on arXiv also varies the
# squeeze, the excitation and the place of the block. How to draw weights is the subject of
# {cite:t}`glorot2010`. {ref}`ch-squeeze-variants` goes on with the squeeze, and asks what a mean
# forgets.
