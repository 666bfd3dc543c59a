# %% [markdown]
# (ch-recurrence-plots)=
# # Recurrence plots
#
# **When was the market in a state like this one, and what can be counted in the picture of
# the answers?**
#
# ```{admonition} What you will do
# :class: tip
# - compare a series with itself, with a pencil, and draw the answers as a square
# - replace prices by states, and see what that fixes
# - read the textures of a sine, noise, a random walk and real bars
# - count those textures in four numbers, and test them against shuffled markets
# - break the counts with a fixed threshold and a careless diagonal, and fix both
# ```
#
# *You need* {ref}`ch-candles` and {ref}`ch-gramian-fields`. *Runs* in under 45 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from setrade import candles
from setrade.gramian import transition_field
from setrade.plots import DOWN, NEUTRAL, UP, field, use_style
from setrade.recurrence import embed, quantify, recurrence

use_style()

# %% tags=["parameters"]
LENGTH = 96  # bars in a window: one day of 15 minutes
STRIDE = 16  # bars from one window to the next: four hours
N_SURROGATES = 39  # shuffled markets to compare with

# %% [markdown]
# ## 1 Here again?
#
# A Gramian field compares two bars by their angles. The next square asks something plainer of them:
# was the market in nearly the same state? Walk through a town and note, at each step, whether you
# have been on this corner before. For a series that note is a square picture {cite:p}`eckmann1987`.
#
# ```{prf:definition} Recurrence plot
# :label: def-recurrence-plot
#
# Let $s_1, \dots, s_m$ be the states of a series and $\varepsilon \ge 0$ the largest distance that
# counts as «nearly the same». In the **recurrence plot** pixel $(i, j)$ is 1 if the series was in
# nearly the same state at $i$ and at $j$:
#
# $$R_{ij} = \Theta\big(\varepsilon - \lVert s_i - s_j \rVert\big), \qquad
# \Theta(a) = 1 \text{ if } a \ge 0, \text{ else } 0.$$
# ```
#
# A distance of exactly $\varepsilon$ counts as well, since $\Theta(0) = 1$; packages differ on this
# point, so it has to be said. For now, let the state be the price itself, and take four prices and
# $\varepsilon = 1$:

# %%
x = np.array([10.0, 12.0, 11.0, 10.5])
distances = np.abs(x[:, None] - x[None, :])
plot = (distances <= 1).astype(int)
plot

# %%
np.testing.assert_array_equal(recurrence(x), distances)
np.testing.assert_array_equal(recurrence(x, eps=1), plot)
assert distances[1, 2] == 1  # exactly the threshold: it recurs
assert plot[1, 2] == 1

# %% [markdown]
# Without `eps`, `recurrence` returns the distances, a picture in shades; with it, 0 and 1. The
# diagonal is always 1, since every state is close to itself, and the square is symmetric, because a
# distance is the same in both directions.
#
# ## 2 States, not prices
#
# One price does not describe a state, because a swing passes each height twice, once on the way up
# and once on the way down. To tell these apart, look at several bars at once.
#
# ```{prf:definition} Time-delay embedding
# :label: def-time-delay-embedding
#
# **Time-delay embedding** {cite:p}`takens1981` takes $d \ge 1$ values (`dim`) of a series, each
# $\tau \ge 1$ bars (`delay`) after the one before, as one state:
#
# $$s_i = (x_i,\; x_{i+\tau},\; \dots,\; x_{i+(d-1)\tau}), \qquad
#   \lVert s_i - s_j \rVert^2 = \sum_{k=0}^{d-1} (x_{i+k\tau} - x_{j+k\tau})^2.$$
#
# A series of $n > (d-1)\tau$ bars has $m = n - (d-1)\tau$ states, because the last bars begin none
# that is complete.
# ```
#
# :::{figure-md} fig-diagram-recurrence-embedding
# ![Above, a series with two states, each made of two values some bars apart. Below left, the states are points in a plane; the second lies within a circle of radius epsilon around the first. Below right, the pixel in row i and column j of the recurrence plot is therefore marked.](_static/diagrams/recurrence_embedding.svg)
#
# Two states of a series, their distance, and the pixel that stands for both.
# :::


# %%
def recurrence_by_hand(x, dim, delay):
    m = len(x) - (dim - 1) * delay
    states = np.stack(
        [x[k * delay : k * delay + m] for k in range(dim)], axis=1
    )
    difference = states[:, None, :] - states[None, :, :]  # (m, m, dim)
    return np.sqrt((difference**2).sum(-1))


wave = np.sin(2 * np.pi * np.arange(60) / 20)  # a period of 20 bars
np.testing.assert_allclose(
    recurrence(wave, 2, 5), recurrence_by_hand(wave, 2, 5), atol=1e-6
)
embed(np.arange(8), dim=3, delay=2).tolist()

# %% mystnb={"figure": {"caption": "A sine with a period of 20 bars. Left: the state is one price. Right: two prices a quarter of a period apart.", "name": "fig-recurrence-embedding"}, "image": {"alt": "Two square plots. The left one shows a lattice of diagonal lines in both directions that cross. In the right one only the lines parallel to the main diagonal remain, twenty bars apart."}}
one, two = recurrence(wave, eps=0.25), recurrence(wave, 2, 5, eps=0.25)
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.8))
field(axes[0], one, "dim 1", signed=False)
field(axes[1], two, "dim 2, delay 5", signed=False)
plt.show()

# %%
lines = [k for k in range(1, 55) if np.trace(two, offset=k) > 0]
assert lines == [20, 40]  # the period, read off the picture
assert one.mean() > 4 * two.mean()
assert quantify(two)["det"] == 1

# %% [markdown]
# In the left square of {numref}`fig-recurrence-embedding`, the falling half of the wave
# matches the rising half, played backwards: lines at right angles to the main diagonal. With
# two prices a state knows which way it is going, and only true repetitions are left: lines
# parallel to the main diagonal. Their distance from it is the period, 20 bars.
#
# ## 3 How near is near?
#
# There are two honest ways to choose the threshold. One is a **value** in the unit of the series,
# and then a calm day recurs everywhere and a wild day nowhere. The other is a **quantile**: in each
# picture, the nearest share of all pairs recurs. The second makes pictures of different days
# comparable, while the first keeps their size. What goes wrong with the first comes below.
#
# <div data-move="recurrence">

# %%
close = candles.sample()["close"]
price = np.log(close.to_numpy())
day = price[1200 : 1200 + LENGTH]

# %% mystnb={"figure": {"caption": "One day of real 15-minute bars, states of three log closes: distances, a threshold of 0.4 %, and the nearest 10 % of the pairs.", "name": "fig-recurrence-threshold"}, "image": {"alt": "Three squares. The first shows distances in shades, with blocks of small distance along the diagonal. The second and the third mark the nearest states with 1, in blocks and short strokes around the diagonal, at two different densities."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
shades = field(
    axes[0], 100 * recurrence(day, 3, 2), "distance, %", signed=False
)
fig.colorbar(shades, ax=axes[0], location="bottom", shrink=0.9)
field(
    axes[1], recurrence(day, 3, 2, eps=0.004), "within 0.4 %",
    signed=False,
)
field(
    axes[2], recurrence(day, 3, 2, quantile=0.1), "nearest 10 %",
    signed=False,
)
plt.show()

# %%
m = LENGTH - 4
nearest = np.triu(recurrence(day, 3, 2, quantile=0.1), 1).sum()
assert nearest == np.ceil(0.1 * m * (m - 1) / 2)

# %% [markdown]
# Where scripts are on, the same day follows with a fader for the threshold. Watch how long the
# picture stays empty, how quickly it fills once ε is as large as an ordinary move, and what that
# does to the four numbers of section 5.
#
# </div>
#
# ## 4 Textures
#
# Four series go through one recipe, so that only the series makes the difference: states of three
# values, two bars apart, nearest 10 %.

# %%
rng = np.random.default_rng(0)
series = {
    "sine": np.sin(2 * np.pi * np.arange(LENGTH) / 24),
    "noise": rng.normal(size=LENGTH),
    "random walk": rng.normal(size=LENGTH).cumsum(),
    "real day": day,
}
plots = {
    k: recurrence(v, 3, 2, quantile=0.1) for k, v in series.items()
}

# %% mystnb={"figure": {"caption": "Recurrence plots of four series of 96 bars, the nearest 10 % of the pairs each.", "name": "fig-recurrence-textures"}, "image": {"alt": "Four squares with the same number of marked pixels. The sine gives long diagonal stripes. Noise gives scattered single points. The random walk gives winding strokes and clumps, thickest near the diagonal. The real day gives square blocks along the diagonal and little elsewhere."}}
fig, axes = plt.subplots(2, 2, figsize=(6.4, 6.6))
for ax, (name, image) in zip(axes.flat, plots.items(), strict=True):
    field(ax, image, name, signed=False)
plt.show()

# %% [markdown]
# - **Long diagonals**: the path runs beside an earlier stretch of itself, as a periodic series
#   does.
# - **Lone points**: a state comes back once, by chance, as it does in noise.
# - **Blocks and vertical strokes**: the state stays where it is for a while.
# - The real day looks much more like the random walk than like the sine, so what it shows is clumps
#   rather than repetition.
#
# ## 5 Four numbers
#
# **Recurrence quantification** {cite:p}`marwan2007` counts these textures.
#
# ```{prf:definition} Rate, determinism, laminarity
# :label: def-recurrence-measures
#
# Leave out the main diagonal of a recurrence plot, because it is there for every series. Of what is
# left, collect the lengths $l$ of all unbroken diagonal lines and the lengths $v$ of all unbroken
# vertical lines of recurrent pixels, with histograms $P(l)$ and $P(v)$. Then
#
# $$\mathrm{RR} = \frac{\text{recurrent pixels}}{\text{pixels}}, \quad
# \mathrm{DET} = \frac{\sum_{l \ge 2} l\,P(l)}{\sum_{l \ge 1} l\,P(l)}, \quad
# \mathrm{LAM} = \frac{\sum_{v \ge 2} v\,P(v)}{\sum_{v \ge 1} v\,P(v)}.$$
#
# RR is the **recurrence rate**, DET the **determinism** and LAM the **laminarity**. All three are 0
# where no pixel is recurrent.
# ```
#
# The fourth number is the entropy $-\sum_l p_l \ln p_l$ of the lengths of the diagonal lines with
# $l \ge 2$, where $p_l$ is the share of these lines that have the length $l$.
#
# Here is a plot of five states that is small enough to count by hand:

# %%
tiny = np.array(
    [
        [1, 1, 0, 0, 1],
        [1, 1, 1, 0, 1],
        [0, 1, 1, 0, 1],
        [0, 0, 0, 1, 0],
        [1, 1, 1, 0, 1],
    ]
)

# %% [markdown]
# Off the diagonal, 10 of 20 pixels are 1, so RR is 0.5. The first diagonal above the main one reads
# 1 1 0 0, which is one line of length two, while the others above it hold three lone points. Below
# the main one it is the same, because the plot is symmetric. So 4 of the 10 points lie in lines,
# and DET is 0.4. Of the columns, only the last has a line, of three points, so LAM is 0.3. Both
# diagonal lines have the same length, so the entropy is 0.


# %%
def det_by_hand(plot):
    lengths = []
    for offset in range(1, len(plot)):
        for half in (plot, plot.T):
            bits = "".join(
                str(int(v)) for v in np.diagonal(half, offset)
            )
            lengths += [len(line) for line in bits.split("0") if line]
    return sum(n for n in lengths if n >= 2) / sum(lengths)


found = quantify(tiny)
assert (det_by_hand(tiny), float(found["det"])) == (0.4, 0.4)
{name: round(float(value), 3) for name, value in found.items()}

# %% [markdown]
# The same function now counts the four textures of the figure above:

# %%
measures = {k: quantify(image) for k, image in plots.items()}
assert all(det_by_hand(plots[k]) == measures[k]["det"] for k in plots)
table = pd.DataFrame(measures).astype(float)
table.T.round(1)

# %%
det = table.loc["det"]
assert det["noise"] < 0.3 < 0.45 < det["random walk"] < det["sine"]
assert det["random walk"] > 2 * det["noise"]

# %% [markdown]
# The names promise too much: a random walk has no rule that could be found in it, and yet its
# «determinism» is more than twice that of noise. The reason is that a walk moves slowly, so states
# that are neighbours in time are also neighbours in space, and their pixels join into lines. DET
# therefore measures smoothness first, and a DET as high as the walk's on a price chart is no
# evidence of a pattern.
#
# ## 6 Is there anything in real bars?
#
# Because smoothness alone can make DET high, the number needs something to be compared with. Take
# all windows of the real sample and average their DET. Then destroy what you want to test for, keep
# the rest, and measure again.
#
# - **Shuffled**: the returns in random order, summed up to a new price, so that all order is gone.
# - **Flipped**: each return keeps its place and its size, and gets a random sign. Calm and
#   wild hours stay where they are; only the directions are random.


# %%
def mean_det(price):
    windows = np.lib.stride_tricks.sliding_window_view(price, LENGTH)[
        ::STRIDE
    ]
    return quantify(recurrence(windows, 3, 2, quantile=0.1))[
        "det"
    ].mean()


returns = np.diff(price)
real = mean_det(price)
shuffled, flipped = [], []
for seed in range(N_SURROGATES):
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], returns.size)
    shuffled.append(mean_det(np.cumsum(rng.permutation(returns))))
    flipped.append(mean_det(np.cumsum(signs * returns)))

# %% mystnb={"figure": {"caption": "Mean determinism of real 15-minute windows, and of 39 shuffled and 39 sign-flipped markets.", "name": "fig-recurrence-surrogates"}, "image": {"alt": "Two rows of dots for shuffled and flipped markets, spread between about 0.67 and 0.74. A vertical line marks the real value, about 0.64, to the left of all of them."}}
fig, ax = plt.subplots(figsize=(7.2, 2.4))
for row, values in enumerate((shuffled, flipped)):
    ax.plot(
        values, np.full(N_SURROGATES, row), "o", ms=5, color=NEUTRAL,
        alpha=0.6,
    )
ax.axvline(real, color=UP)
ax.text(real, 1.6, " real", color=UP)
ax.set_yticks([0, 1], ["shuffled", "flipped"])
ax.set(xlabel="mean DET of windows of 96 bars", ylim=(-0.6, 2))
plt.show()

# %%
assert 0.62 < real < 0.66
assert real < min(shuffled)
assert real < min(flipped)

# %% [markdown]
# <!-- number: 40 by 39 surrogates and the real one, each as likely to be lowest -->
# With 39 {term}`surrogates <surrogate>`, chance alone puts the real value below all of them once in
# 40 times, and as often above all of them. We looked at both sides before we named one, so the fair
# count is two in 40. Even so, the order of the signs seems to matter. But look at the side: the
# real bars have *less* determinism than random ones. By this number their path is rougher than a
# walk, not smoother.
#
# To see over how many bars that order reaches, flip the signs in blocks, so that the bars of one
# block keep their signs relative to each other. If short blocks already bring the real value back,
# the cause lies between neighbours; if only long ones do, it lies farther apart.


# %%
def flip_blocks(returns, length, seed):
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], len(returns) // length + 1)
    return np.cumsum(np.repeat(signs, length)[: len(returns)] * returns)


by_block = {
    length: np.mean(
        [mean_det(flip_blocks(returns, length, s)) for s in range(20)]
    )
    for length in (1, 4, 16, 96)
}
{length: round(float(value), 3) for length, value in by_block.items()}

# %%
values = list(by_block.values())
assert values[0] > values[1] > values[2] > values[3]
assert abs(values[3] - real) < 0.015
assert round(len(price) / 96) == 58  # days

# %% [markdown]
# The longer the blocks, the nearer the mean DET comes to the real value. So neighbours alone do not
# explain the difference, while the order of the signs over some hours does. What that order is, the
# number cannot say.
#
# It is also only a hint, because it comes from one recipe on one stretch of 58 days. Is it there in
# each third of them? Count the flipped markets, of 39, that lie below the real third.

# %%
below = []
for third in np.array_split(price, 3):
    changes = np.diff(third)
    others = [
        mean_det(flip_blocks(changes, 1, s))
        for s in range(N_SURROGATES)
    ]
    below.append(int(np.sum(np.array(others) < mean_det(third))))
below

# %%
assert below[0] >= 1
assert below[1:] == [0, 0]

# %% [markdown]
# In the first third some do, so that third alone would have convinced nobody, while in the other
# two none does.
#
# This order of work is the right one for any such number: count, compare with a market that has no
# structure, look where the difference comes from, and look whether it is there in each part.
#
# ## 7 The other square: transition fields
#
# A **Markov transition field** {cite:p}`wang2015` asks a different question of each pair.
# Sort the window's values into quantile bins. Count how often a bar in bin $a$ is followed by
# a bar in bin $b$, as a share $W_{ab}$ of all moves out of $a$. Pixel $(i, j)$ is $W$ at the
# bins of $x_i$ and $x_j$: how usual is it here to step from a price like $x_i$ to one like
# $x_j$?


# %%
def transition_field_by_hand(x, n_bins):
    edges = np.quantile(x, np.arange(1, n_bins) / n_bins)
    bins = np.searchsorted(edges, x)
    W = np.zeros((n_bins, n_bins))
    np.add.at(W, (bins[:-1], bins[1:]), 1)
    W /= np.maximum(W.sum(1, keepdims=True), 1)
    return W[bins[:, None], bins[None, :]]


by_hand = transition_field_by_hand(day, 8)
np.testing.assert_allclose(transition_field(day), by_hand, atol=1e-6)

# %% mystnb={"figure": {"caption": "The same real day: its closes, its recurrence plot and its transition field with eight bins.", "name": "fig-transition-field"}, "image": {"alt": "Three panels: the line of a day's closes, its recurrence plot, and its transition field, which is blockier and brightest where two bars lie in the same price bin."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
axes[0].plot(np.exp(day))
axes[0].set(xlabel="bar", ylabel="close, USD", title="series")
field(axes[1], plots["real day"], "recurrence", signed=False)
field(axes[2], transition_field(day), "transition field", signed=False)
plt.show()

# %%
bins = np.searchsorted(np.quantile(day, np.arange(1, 8) / 8), day)
same = bins[:, None] == bins[None, :]
assert by_hand[same].mean() > 2 * by_hand[~same].mean()

# %% [markdown]
# The bins come from the window alone, so no bar after it has an influence. Neither square knows up
# from down: when the series is turned upside down, the bins of a transition field are only
# renumbered (as long as no value lies exactly on the edge of one), and a recurrence plot does not
# change at all.
#
# ```{prf:proposition} A recurrence plot is blind to direction
# :label: prop-recurrence-mirror
#
# For every series $x$, every embedding and every threshold, $x$ and $-x$ have the same recurrence
# plot. It is symmetric, and its main diagonal is 1.
# ```
#
# ```{prf:proof}
# The states of $-x$ are those of $x$ with the opposite sign, so all distances stay as they are, and
# with them every quantile of the distances. A distance is the same in both directions, and that of
# a state from itself is 0.
# ```

# %%
up = np.cumsum(np.random.default_rng(1).normal(0.3, 1, LENGTH))
assert np.array_equal(recurrence(up, 3, 2), recurrence(-up, 3, 2))
assert np.array_equal(transition_field(up), transition_field(-up))

# %% [markdown]
# As with the summation field of {ref}`ch-gramian-fields`, a net that sees nothing else cannot learn
# direction, so if direction matters, put a signed picture beside them.
#
# ## What goes wrong
#
# **One threshold for all times.** The formula of the EfficientNet chapter has a single $\varepsilon$
# for all windows. Take 0.4 % for every window and compare the result with the volatility of the
# window.

# %%
windows = np.lib.stride_tricks.sliding_window_view(price, LENGTH)[
    ::STRIDE
]
volatility = 1e4 * np.diff(windows).std(1)  # basis points a bar
fixed = quantify(recurrence(windows, 3, 2, eps=0.004))
nearest = quantify(recurrence(windows, 3, 2, quantile=0.1))

# %% mystnb={"figure": {"caption": "Determinism of real windows against their volatility. Left: one threshold for all. Right: the nearest 10 % of each window.", "name": "fig-recurrence-fixed"}, "image": {"alt": "Two scatter plots. On the left, determinism falls clearly as volatility grows. On the right there is hardly any relation."}}
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(7.2, 3.2))
parts = ((fixed, "fixed 0.4 %", DOWN), (nearest, "nearest 10 %", UP))
for ax, (found, name, colour) in zip(axes, parts, strict=True):
    ax.plot(
        volatility, found["det"], "o", ms=3, alpha=0.6, color=colour
    )
    ax.set(xlabel="volatility, bp a bar", title=name)
axes[0].set_ylabel("DET")
plt.show()

# %%
rank_fixed = spearmanr(volatility, fixed["det"])[0]
rank_nearest = spearmanr(volatility, nearest["det"])[0]

# %%
assert spearmanr(volatility, fixed["rr"])[0] < -0.7
assert rank_fixed < -0.55
assert abs(rank_nearest) < 0.35

# %% [markdown]
# With a fixed threshold, RR and DET mostly measure volatility: the wilder the window, the fewer
# states lie within 0.4 %. A net or a rule fed these numbers rediscovers volatility and calls it
# regime. With a quantile RR is the same everywhere, so DET no longer follows from it, and what is
# left of DET depends on the shape of the path.
#
# **The line of identity counted in.** Every state is near itself, so if you count the main
# diagonal, each picture gets one long line that says nothing about the series. White noise shows
# how much that matters, because there DET has a known value: a point is alone if both its diagonal
# neighbours are blank, so $\mathrm{DET} \approx 1 - (1 - \mathrm{RR})^2$. Take one value as the
# state, because otherwise neighbouring states would share values.

# %%
noise = np.random.default_rng(5).normal(size=(200, LENGTH))
pictures = recurrence(noise, quantile=0.1)
known = 1 - 0.9**2
counted = quantify(pictures, theiler=0)["det"].mean()
left_out = quantify(pictures)["det"].mean()
print(
    f"known {known:.2f}, left out {left_out:.2f}, counted {counted:.2f}"
)

# %%
assert abs(left_out - known) < 0.01
assert counted > known + 0.05

# %% [markdown]
# `quantify` leaves the line of identity out. For a slow series, the diagonals beside it are just as
# trivial, since bar $i$ is near bar $i + 1$ because hardly any time has passed. The **Theiler
# window** {cite:p}`theiler1986` leaves out all pixels with $|i - j| < w$; it is the argument
# `theiler`. Choose it before you look at results, and say which you chose, because a width chosen
# afterwards can be chosen to suit the finding.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A recurrence plot is like a walker's note of corners that he has seen before. Its
# textures invite stories, and the word determinism promises a rule that need not be there.
#
# *Proved.* A recurrence plot cannot tell a series from its mirror image
# ({prf:ref}`prop-recurrence-mirror`), so nothing counted in it knows direction.
#
# *Measured here.* A random walk scored much higher in determinism than noise, with no rule in it.
# In one stretch of real bars determinism was lower than in shuffled and in sign-flipped ones, in
# two of its thirds clearly and in the other weakly, and the order of signs over some hours accounts
# for that. With one threshold for all windows, what was counted followed volatility.
#
# *Open.* What that order of signs is, the number cannot say. It is a hint from one recipe on one
# market, and whether it foretells anything was not asked.
# ```
#
# ## Summary
#
# - A recurrence plot marks the pairs of bars at which the series was in nearly the same
#   state. Embedding turns prices into states that know where they are going.
# - Diagonals mean repetition, blocks mean standing still, lone points mean chance. DET and LAM
#   count them, and a random walk scores high without any rule in it.
# - Compare with shuffled and sign-flipped markets. Here the real bars had *less* determinism
#   than both, clearly in two thirds of the sample and weakly in one: a hint, no more.
# - Use a quantile as threshold, leave out the main diagonal, and remember that neither
#   recurrence plots nor transition fields know up from down.
#
# ## Exercises

# %% [markdown]
# ```{exercise} By hand ★
# :label: ex-recurrence-1
# Take the prices 1, 2, 1, 2 and states of two values, one bar apart. Write down the distances
# and the plot for $\varepsilon = 1$.
# ```
#
# ```{solution-start} ex-recurrence-1
# :class: dropdown
# ```
# The states are $(1, 2), (2, 1), (1, 2)$, of which equal ones are 0 apart and the others $\sqrt 2$.
# That is more than the threshold, so with $\varepsilon = 1$ only equal states recur.

# %%
x = np.array([1.0, 2.0, 1.0, 2.0])
apart = np.sqrt(2) * np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
np.testing.assert_allclose(recurrence(x, 2), apart, atol=1e-6)

# %%
assert recurrence(x, 2, eps=1).tolist() == [
    [1, 0, 1], [0, 1, 0], [1, 0, 1],
]

# %% [markdown]
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Noise on a wave ★★
# :label: ex-recurrence-2
# Add noise to a sine with a period of 24 bars and watch DET fall. At which noise level does
# it reach the DET of pure noise? Use states of three values, two bars apart.
# ```
#
# ```{solution-start} ex-recurrence-2
# :class: dropdown
# ```

# %%
rng = np.random.default_rng(7)
pure = np.sin(2 * np.pi * np.arange(LENGTH) / 24)
levels = [0, 0.1, 0.3, 1, 2, 3, 10]
noise = rng.normal(size=(len(levels), 50, LENGTH))
mixed = pure + np.array(levels)[:, None, None] * noise
mixed = np.concatenate([mixed, noise[-1:]])  # and noise alone
det = quantify(recurrence(mixed, 3, 2, quantile=0.1))["det"].mean(1)

# %%
shown = det.round(2).tolist()
print(dict(zip([*levels, "noise"], shown, strict=True)))
assert det[0] > 0.85
assert det[3] > det[-1] + 0.01  # as high as the wave: seen
assert abs(det[4:] - det[-1]).max() < 0.01  # twice: no more

# %% [markdown]
# It falls until the noise is about twice as high as the wave, where it is that of pure noise, and
# stays there: beyond, the picture cannot tell the mixture from noise alone.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Does laminarity say more? ★★
# :label: ex-recurrence-3
# Repeat section 6 with LAM instead of DET, for nine shuffled markets. Does the real value
# again lie below all of them? Would you report it as a second finding?
# ```
#
# ```{solution-start} ex-recurrence-3
# :class: dropdown
# ```


# %%
def mean_lam(price):
    windows = np.lib.stride_tricks.sliding_window_view(price, LENGTH)[
        ::STRIDE
    ]
    return quantify(recurrence(windows, 3, 2, quantile=0.1))[
        "lam"
    ].mean()


others = [
    mean_lam(
        np.cumsum(np.random.default_rng(seed).permutation(returns))
    )
    for seed in range(9)
]

# %%
assert mean_lam(price) < min(others)

# %% [markdown]
# It does, but it is not a second finding, because DET and LAM count the same clumps of points, and
# both fall when the path gets rougher. Two numbers from one picture are not independent evidence.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} How often does your market return? ★★★
# :label: ex-recurrence-own
# Draw recurrence plots of log prices and of log returns over one week of your own bars, choosing
# $\varepsilon$ so that five of a hundred pairs recur in each. Compare both with the same week
# shuffled. Which of the four pictures would you have recognised?
# ```
#
# ```{solution} ex-recurrence-own
# :class: dropdown
# Prices wander, so their plot has large blocks along the diagonal and empty corners, and shuffling
# them destroys the blocks: that difference only says that prices are not independent draws. Returns
# are the fair test, since they have no such wandering to lose. Blocks that are left there, and gone
# after shuffling, are stretches of like volatility, which is real but says nothing about direction.
# Shuffle several times, since one shuffled week is a single draw from chance.
# ```
#
# ## Further reading
#
# - {cite:t}`eckmann1987`: the five pages that started it, with pictures worth the look.
# - {cite:t}`marwan2007`: the reference for every measure used here, and for its traps.
# - {cite:t}`takens1981`: why a few delayed values can stand for a state.
