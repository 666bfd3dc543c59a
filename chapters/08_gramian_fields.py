# %% [markdown]
# (ch-gramian-fields)=
# # Gramian fields
#
# **Can a picture made of angles tell up from down?**
#
# ```{admonition} What you will do
# :class: tip
# - turn four prices into angles, and the angles into two pictures, with a pencil
# - derive why no cosine has to be computed, and read what that saves
# - prove that one of the two pictures cannot tell a rise from a fall
# - train a small net on each picture and see that the proof holds
# - break the pictures with raw prices, a constant window and a lost scale, and fix them
# ```
#
# *You need* {ref}`ch-candles`. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

from setrade import candles, races
from setrade.errors import ArgumentError
from setrade.gramian import gadf, gasf, gasf_inverse
from setrade.plots import DOWN, NEUTRAL, UP, field, use_style

use_style()

# %% tags=["parameters"]
LENGTH = 48  # bars in a window
SIZE = 24  # side of the pictures that a net sees, in pixels
N_SEEDS = 10  # nets trained on each kind of picture
N_WINDOWS = 1_000  # windows to train on, and as many to test on

# %% [markdown]
# ## 1 From prices to angles
#
# The charts of {ref}`ch-candlestick-images` look as a trader draws them, but a net needs no chart. It
# wants a square of numbers, while a series is a line. One way from the line to
# the square is to compare every bar with every other bar, so that pixel $(i, j)$ says something
# about bars $i$ and $j$. A **Gramian angular field** {cite:p}`wang2015` compares them by their
# angles.
#
# First, rescale the window so that its lowest value is $-1$ and its highest is $+1$:
#
# $$\tilde x_i = \frac{(x_i - x_\min) - (x_\max - x_i)}{x_\max - x_\min}.$$
#
# Every number in $[-1, 1]$ is the cosine of exactly one angle between 0 and $\pi$, so take that
# angle: $\varphi_i = \arccos \tilde x_i$. A high price has a small angle, because the cosine falls
# as the angle grows. The highest has angle 0, the lowest $\pi$, the middle $\pi/2$.
#
# Four prices are enough to see it: 100, 101, 103, 104.

# %%
prices = np.array([100.0, 101.0, 103.0, 104.0])
low, high = prices.min(), prices.max()
x_tilde = ((prices - low) - (high - prices)) / (high - low)
phi = np.arccos(x_tilde)
table = {
    "price": prices, "rescaled": x_tilde,
    "angle / pi": (phi / np.pi).round(3),
}
pd.DataFrame(table)

# %% [markdown]
# The angles are $\pi$, $2\pi/3$, $\pi/3$ and 0. From them two pictures are made.
#
# ```{prf:definition} Summation and difference field
# :label: def-gramian-fields
#
# Let a window of $n$ bars move, so that $x_\min < x_\max$, and let $\varphi_i \in [0, \pi]$ be the
# angle whose cosine is the rescaled value $\tilde x_i$. The **summation field** (GASF) adds the
# angles of two bars and the **difference field** (GADF) subtracts them:
#
# $$\mathrm{GASF}_{ij} = \cos(\varphi_i + \varphi_j), \qquad
#   \mathrm{GADF}_{ij} = \sin(\varphi_i - \varphi_j).$$
# ```
#
# <div data-move="gasf">
#
# :::{figure-md} fig-diagram-gasf-geometry
# ![Left, two bars of a rescaled series lie on a half circle, each at the angle whose cosine is its value. Right, a square of pixels: the pixel in row i and column j holds the cosine of the sum of the two angles.](_static/diagrams/gasf_geometry.svg)
#
# Each bar becomes an angle, and a pixel is the cosine of the sum of two of them.
# :::
#
# Where scripts are on, a real window follows, the one of the figure below: touch a pixel, or move
# the two faders, to see the two bars that it compares and the angles that it adds.
#
# </div>
#
# By hand, the corner of the GASF is $\cos(\pi + \pi) = 1$, and the pixel of the first and the
# last bar is $\cos(\pi + 0) = -1$.


# %%
def gasf_by_hand(x):
    x_tilde = ((x - x.min()) - (x.max() - x)) / np.ptp(x)
    phi = np.arccos(x_tilde)
    return np.cos(phi[:, None] + phi[None, :])


def gadf_by_hand(x):
    x_tilde = ((x - x.min()) - (x.max() - x)) / np.ptp(x)
    phi = np.arccos(x_tilde)
    return np.sin(phi[:, None] - phi[None, :])


gasf_by_hand(prices).round(2) + 0.0

# %%
np.testing.assert_allclose(
    gasf(prices), gasf_by_hand(prices), atol=3e-7
)
np.testing.assert_allclose(
    gadf(prices), gadf_by_hand(prices), atol=3e-7
)

# %%
assert gasf(prices)[0].round(3).tolist() == [1, 0.5, -0.5, -1]

# %% [markdown]
# The functions of `setrade.gramian` agree with the four lines above. They also take any
# number of windows at once, NumPy arrays or torch tensors.
#
# <!-- number: 15 from setrade/candles/files.py -->
# Here is one window of real 15-minute bars, its angles on a half circle, and both pictures.

# %%
close = candles.sample()["close"].to_numpy()
windows = np.lib.stride_tricks.sliding_window_view(close, LENGTH)
window = windows[1200]
angles = np.arccos(2 * (window - window.min()) / np.ptp(window) - 1)
radius = np.arange(1, LENGTH + 1)

# %% mystnb={"figure": {"caption": "Twelve hours of real bars: the closes, their angles (the newest bar is farthest from the centre), and the two fields.", "name": "fig-gasf-first"}, "image": {"alt": "Four panels. A line of 48 closing prices; the same values as points on a half circle, where low prices lie to the left and high ones to the right; a symmetric square, the summation field; and a square that is dark on one side of the diagonal where it is light on the other, the difference field."}}
fig = plt.figure(figsize=(7.2, 5.6))
ax = fig.add_subplot(221)
ax.plot(window)
ax.set(xlabel="bar", ylabel="close, USD", title="series")
ax = fig.add_subplot(222, projection="polar")
ax.scatter(angles, radius, c=radius, s=12)
ax.set(thetamin=0, thetamax=180, yticklabels=[], title="angles")
field(fig.add_subplot(223), gasf(window), "GASF")
drawn = field(fig.add_subplot(224), gadf(window), "GADF")
fig.colorbar(drawn, ax=fig.axes[2:], label="no unit", shrink=0.8)
plt.show()

# %%
assert np.array_equal(gasf(window), gasf(window).T)
assert np.array_equal(gadf(window), -gadf(window).T)
np.testing.assert_allclose(
    np.diag(gasf(window)), 2 * np.cos(angles) ** 2 - 1, atol=1e-6
)

# %%
assert not np.diag(gadf(window)).any()

# %% [markdown]
# In {numref}`fig-gasf-first`, time runs to the right and downwards, and this is how to read it:
#
# - Both squares hold each pair of bars twice. The GASF is symmetric, while the GADF changes its
#   sign across the diagonal, because a difference depends on the order and a sum does not.
# - The diagonal of the GASF is $\cos 2\varphi_i = 2 \tilde x_i^2 - 1$. It is 1 at the highest and at
#   the lowest price, and $-1$ in the middle. So where the diagonal turns orange, the price is at an
#   extreme, but the diagonal does not say at which of the two.
# - The GADF is positive where bar $i$ is below bar $j$. Its top right corner compares the oldest
#   with the newest bar, so its sign says whether the window rose. It is 0 if the two are the
#   window's lowest and highest, for $\sin \pi = 0$
#   ({ref}`ex-gramian-1`).

# %%
change = windows[:, -1] - windows[:, 0]
corner = np.concatenate(
    [gadf(part)[:, 0, -1] for part in np.array_split(windows, 20)]
)
told = corner != 0

# %%
assert np.array_equal(np.sign(corner[told]), np.sign(change[told]))
assert told.mean() > 0.95

# %% [markdown]
# ## 2 No cosine is needed
#
# The formula asks for $n$ arccosines and $n^2$ cosines a picture, but the addition theorem makes
# all of them unnecessary.
#
# ```{prf:proposition} Fields without angles
# :label: prop-gramian-rank
#
# With $s_i = \sqrt{1 - \tilde x_i^2}$ the fields of {prf:ref}`def-gramian-fields` are
#
# $$\mathrm{GASF}_{ij} = \tilde x_i \tilde x_j - s_i s_j, \qquad
#   \mathrm{GADF}_{ij} = s_i \tilde x_j - \tilde x_i s_j.$$
#
# As matrices both have a rank of at most 2, however long the window is.
# ```
#
# ```{prf:proof}
# An angle between 0 and $\pi$ has a sine of at least 0, so $s_i = \sin \varphi_i$, and
#
# $$\cos(\varphi_i + \varphi_j) = \cos\varphi_i \cos\varphi_j - \sin\varphi_i \sin\varphi_j, \qquad
#   \sin(\varphi_i - \varphi_j) = \sin\varphi_i \cos\varphi_j - \cos\varphi_i \sin\varphi_j.$$
#
# Each is the difference of two outer products, and an outer product has a rank of at most 1.
# ```
#
# What remains is two products and a subtraction a pixel. All that a GASF knows of $n$ bars is in
# two vectors of length $n$.

# %%
x_tilde, s = np.cos(angles), np.sin(angles)
rank_two = np.outer(x_tilde, x_tilde) - np.outer(s, s)
np.testing.assert_allclose(gasf(window), rank_two, atol=1e-6)
int(np.linalg.matrix_rank(gasf_by_hand(window)))

# %% [markdown]
# With so little to compute, what is left is writing memory: $4 n^2$ bytes a picture. So the fair
# yardstick is the time that it takes to fill the same memory with a constant. The stored benchmark
# (`bench.json`, made by `make bench BENCH=gramian`) races both, and the package pyts, which uses the
# same identity but computes in float64, makes several temporary arrays, and asks the system for
# fresh memory at each call. Our kernel writes into a buffer that the caller keeps: `out=`. Each
# ratio is the least of all processors that ran the race.

# %%
rows = {}
for size in (64, 224):
    pyts = races.least(
        f"test_gasf_against_pyts[{size}]", "pyts", "fresh"
    )
    refill = races.least(
        f"test_gasf_against_refilling_its_buffer[{size}]", "fill"
    )
    rows[size] = {
        "times faster than pyts": pyts.ratio,
        "share of refill rate": refill.ratio,
    }
print("raced on", "; ".join(pyts.ran))
pd.DataFrame(rows).T.rename_axis("side, pixels").round(1)

# %%
assert min(row["times faster than pyts"] for row in rows.values()) > 3
assert min(row["share of refill rate"] for row in rows.values()) > 0.3

# %% [markdown]
# A share near 1 means that the pictures cost hardly more than the memory that they fill. Since
# making them again costs so little, this book makes pictures on the fly and stores none.
#
# A part of pyts's cost is the fresh memory. Where the process keeps what it freed, as the
# Makefile has it ({ref}`ch-fast-inference`), less is left to win:

# %%
kept = races.least("test_gasf_against_pyts[224]", "pyts", "kept")
print("224 pixels, memory kept:", kept)
assert 1 < kept.ratio < rows[224]["times faster than pyts"]

# %% [markdown]
# One numerical detail matters here, because the root $\sqrt{1 - \tilde x^2}$ is steep near the ends.
# A value just below the highest price loses its digits when it is stored in float32, and the steep
# root makes the loss visible. So `gasf` rescales and takes the root in float64, on $n$ numbers, and
# does only the $n^2$ products in float32.

# %%
# rescaled prices just below the highest
near = 1 - 10.0 ** -np.arange(3, 8)
near32 = near.astype("float32")
sine, sine32 = np.sqrt(1 - near**2), np.sqrt(1 - near32 * near32)
lost = np.abs(sine32 / sine - 1)

# %%
assert lost[0] < 1e-4
# one part in ten million of the rescaled price: 9 % in the sine
assert lost[-1] > 0.09
assert np.abs(gasf(window) - gasf_by_hand(window)).max() < 3e-7

# %% [markdown]
# ## 3 Smaller pictures, and the way back
#
# A day of minutes would be a picture of $1440^2$ pixels. **Piecewise aggregate approximation**
# shortens the series first: it cuts the window into `size` segments, whose lengths differ by one bar
# at most, and keeps their means.
#
# The diagonal is also a way back. If the series is rescaled to $[0, 1]$ instead
# (`rescale="unit"`), all angles lie between 0 and $\pi/2$ and
# $\tilde x_i = \sqrt{(\mathrm{GASF}_{ii} + 1)/2}$.

# %%
small = {
    size: gasf(window, size, rescale="unit") for size in (LENGTH, 12)
}
back = {
    size: gasf_inverse(picture, window.min(), window.max())
    for size, picture in small.items()
}

# %% mystnb={"figure": {"caption": "The series behind a picture, read back from its diagonal: whole at 48 pixels, segment means stretched to the full range at 12.", "name": "fig-gasf-inverse"}, "image": {"alt": "A line of 48 closes with the series recovered from the full picture exactly on top of it, and a staircase of 12 steps recovered from the small picture, which follows the line but touches the window's lowest and highest price although segment means do not."}}
fig, ax = plt.subplots()
ax.plot(window, lw=4, color=NEUTRAL, alpha=0.5, label="closes")
ax.plot(back[LENGTH], lw=1, label="from 48 pixels")
steps = [*back[12], back[12][-1]]
ax.step(
    np.arange(0, LENGTH + 1, 4), steps, where="post", label="from 12"
)
ax.set(xlabel="bar", ylabel="close, USD")
ax.legend()
plt.show()

# %%
np.testing.assert_allclose(
    back[LENGTH], window, atol=3e-4 * np.ptp(window)
)
means = window.reshape(12, 4).mean(1)

# %%
assert np.corrcoef(back[12], means)[0, 1] > 0.999
# USD: stretched to the full range
assert back[12].max() - means.max() > 1

# %% [markdown]
# Three things do not come back: the window's own low and high (we gave them), the bars inside a
# segment, and, with the range $[-1, 1]$, signs: the diagonal alone loses that of every $\tilde
# x_i$, the whole picture only one, which all values share. This shared sign is the subject of the
# next section.
#
# ## 4 Up or down?
#
# Turn the chart upside down, so that each price $p$ becomes $-p$. What was a rise is a fall now,
# and one would expect its picture to change.
#
# ```{prf:theorem} The summation field is blind to direction
# :label: thm-gasf-mirror
#
# Let a window $x$ move, and rescale windows to $[-1, 1]$. Then the windows $x$ and $-x$ have the
# same GASF, while the GADF of $-x$ is the negative of that of $x$.
# ```
#
# ```{prf:proof}
# The rescaled series changes its sign, and each angle $\varphi$ becomes $\pi - \varphi$. Put that
# into the two formulas:
#
# $$\cos\big((\pi - \varphi_i) + (\pi - \varphi_j)\big)
#   = \cos\big(2\pi - (\varphi_i + \varphi_j)\big) = \cos(\varphi_i + \varphi_j),$$
#
# $$\sin\big((\pi - \varphi_i) - (\pi - \varphi_j)\big) = -\sin(\varphi_i - \varphi_j).$$
# ```
#
# The two pictures are not merely similar but equal, in our code bit by bit.

# %%
rng = np.random.default_rng(3)
rise = 0.5 * np.arange(LENGTH) + rng.normal(size=LENGTH).cumsum()
fall = -rise

# %%
assert np.array_equal(gasf(rise), gasf(fall))
assert np.array_equal(gadf(rise), -gadf(fall))

# %% mystnb={"figure": {"caption": "A rise and its mirror image. The summation fields are equal in every bit; the difference fields are opposite.", "name": "fig-gasf-mirror"}, "image": {"alt": "Two rows of three panels. The upper row shows a rising line, the lower row the same line upside down. The middle panels, the summation fields, are identical. The right panels, the difference fields, have exchanged dark and light."}}
fig, axes = plt.subplots(
    2, 3, figsize=(7.2, 4.8), width_ratios=[1.3, 1, 1]
)
rows = zip(
    axes, (rise, fall), (UP, DOWN), ("rise", "fall"), strict=True
)
for (left, middle, right), series, colour, name in rows:
    left.plot(series, color=colour, ls="-" if name == "rise" else "--")
    left.set(xlabel="bar", ylabel="price, no unit", title=name)
    field(middle, gasf(series), "GASF")
    field(right, gadf(series), "GADF")
plt.show()

# %%
assert np.abs(gadf(rise) - gadf(fall)).max() > 1.9

# %% [markdown]
# For a net this sets a limit. Suppose rises and falls are equally likely mirror images of each
# other. Then a GASF is as likely to come from a rise as from a fall, whatever it shows.
#
# ```{prf:proposition} No net reads direction from a GASF
# :label: prop-gasf-coin
#
# Let a window $x$ be drawn at random, with a direction that is up or down, such that $-x$ with the
# opposite direction is exactly as likely. Then every rule that is given only the GASF of $x$, and
# answers up or down, is right with probability one half.
# ```
#
# ```{prf:proof}
# By {prf:ref}`thm-gasf-mirror` a rule gives $x$ and $-x$ the same answer, which is right for
# exactly one of the two. Both are equally likely, so it is right as often as it is wrong.
# ```
#
# No net, however large, is an exception.
#
# To see it happen, we plant the truth: random walks with a clear drift, up or down with equal
# chance. The question is the easiest one there is, because nothing has to be forecast: which way
# did this very window drift?


# %%
def planted(n, seed):
    rng = np.random.default_rng(seed)
    up = rng.integers(0, 2, n)
    steps = rng.normal(size=(n, LENGTH)) + 0.3 * (2 * up[:, None] - 1)
    return torch.as_tensor(steps.cumsum(1)), torch.as_tensor(up)


x, y = planted(2_000, seed=0)
end = (x[:, -1] > x[:, 0]).long()
ceiling = float((end == y).double().mean())

# %%
assert ceiling > 0.95

# %% [markdown]
# A rule that looks at the first and the last bar is right in more than 95 % of the windows, which
# is what a net can hope for. The net is small: two convolutions and one linear layer.


# %%
def small_net():
    side = ((SIZE - 3) // 2 + 1 - 3) // 2 + 1
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * side**2, 2),
    )


# %%
def train(images, y, seed, num_epochs=8, lr=4e-3):
    torch.manual_seed(seed)
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(num_epochs):
        for batch in torch.randperm(len(y)).split(100):
            loss = nn.functional.cross_entropy(
                net(images[batch]), y[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


# %% [markdown]
# Each net is trained on its own draw of windows and tested on fresh ones. There are three kinds of
# picture: GASF, GADF, and the GASF of a window rescaled to $[0, 1]$. A net this small gains nothing
# from a second thread, so we use one.

# %%
torch.set_num_threads(1)
encoders = {
    "GASF": lambda x: gasf(x, SIZE),
    "GADF": lambda x: gadf(x, SIZE),
    "GASF of [0, 1]": lambda x: gasf(x, SIZE, rescale="unit"),
}


@torch.no_grad()
def accuracy(net, images, y):
    return float((net(images).argmax(1) == y).double().mean())


# %%
seen, fresh, nets = [], [], {}
for name, encode in encoders.items():
    for seed in range(N_SEEDS):
        x, y = planted(2 * N_WINDOWS, seed)
        images = encode(x)[:, None]  # (B, 1, SIZE, SIZE)
        nets[name] = net = train(
            images[:N_WINDOWS], y[:N_WINDOWS], seed
        )
        seen.append(
            (name, accuracy(net, images[:N_WINDOWS], y[:N_WINDOWS]))
        )
        fresh.append(
            (name, accuracy(net, images[N_WINDOWS:], y[N_WINDOWS:]))
        )
fresh, seen = (
    pd.DataFrame(v, columns=["kind", "accuracy"]).groupby("kind")[
        "accuracy"
    ]
    for v in (fresh, seen)
)

# %% [markdown]
# With ten nets a kind, the mean accuracy has a 95 % interval from Student's $t$.

# %%
half = fresh.sem() * stats.t.ppf(0.975, N_SEEDS - 1)
mean = fresh.mean()

# %% mystnb={"figure": {"caption": "Accuracy on fresh windows, one dot a net, bars: 95 % interval of the mean. A net fed GASF alone guesses.", "name": "fig-gasf-direction"}, "image": {"alt": "Dots of ten nets for each of three kinds of picture. For the summation field they scatter around one half. For the difference field and for the summation field of windows rescaled to zero to one they lie close to 0.97."}}
fig, ax = plt.subplots(figsize=(7.2, 3.2))
for row, name in enumerate(encoders):
    values = fresh.get_group(name)
    ax.plot(
        values, np.full(N_SEEDS, row - 0.15), "o", ms=4, color=NEUTRAL
    )
    ax.errorbar(
        mean[name], row, xerr=half[name], fmt="D", capsize=4, color=UP
    )
ax.axvline(0.5, color=DOWN, ls="--", lw=1)
ax.text(0.505, 2.4, "coin", color=DOWN)
ax.set_yticks(range(3), list(encoders))
ax.set(
    xlabel="share of fresh windows right", xlim=(0.4, 1),
    ylim=(-0.5, 2.7),
)
plt.show()

# %%
assert abs(mean["GASF"] - 0.5) < 0.02
assert abs(mean["GASF"] - 0.5) < 2 * half["GASF"]
assert mean["GADF"] > 0.95
assert mean["GASF of [0, 1]"] > 0.95
assert seen.mean()["GASF"] > 0.54

# %% [markdown]
# The GASF nets guess. On the windows they were trained on they do a little better than one half,
# but only because they learned pictures by heart. The GADF nets come close to the rule.
#
# The third row holds a surprise. Rescaled to $[0, 1]$, the mirror image of $\tilde x$ is
# $1 - \tilde x$, not $-\tilde x$, so the symmetry is gone. That is why this GASF can tell up from
# down. The blindness therefore comes from the summation field and the symmetric range together, not
# from either alone.
#
# The same can be tested without any chance: show a GASF net every window and its mirror image.
# Because it gives both the same answer, one of the two is wrong, and the accuracy is exactly one
# half.

# %%
x, y = planted(500, seed=99)
both, answers = torch.cat([x, -x]), torch.cat([y, 1 - y])
scores = {}
for name, net in nets.items():
    scores[name] = accuracy(net, encoders[name](both)[:, None], answers)

# %%
assert scores["GASF"] == 0.5
assert scores["GADF"] > 0.95

# %% [markdown]
# ## What goes wrong
#
# **Raw prices, clamped.** The EfficientNet chapter lists «normalise to $[-1, 1]$» as its first step.
# Its code does not normalise but clamps, so that every value above 1 becomes 1. Here are its lines,
# in Python.


# %%
def gasf_clamped(series):
    phi = np.arccos(np.clip(series, -1.0, 1.0))
    return np.cos(phi[:, None] + phi[None, :])


blank = gasf_clamped(window)  # closes in USD, tens of thousands
print(f"smallest pixel {blank.min():.0f}, largest {blank.max():.0f}")

# %% [markdown]
# Every price is above 1, every angle is 0, and every pixel is $\cos 0 = 1$. The picture is blank,
# the code raises nothing, and a net trains on it without complaint. Using returns instead does not
# help: they are all close to 0, so all angles are close to $\pi/2$, and the picture is almost blank.

# %% mystnb={"figure": {"caption": "One window three ways: prices clamped, returns clamped, prices rescaled.", "name": "fig-gasf-clamped"}, "image": {"alt": "Three squares. The first, from clamped prices, is one uniform colour. The second, from clamped returns, is one uniform colour of the opposite sign. The third, from rescaled prices, shows a rich texture."}}
returns = window[1:] / window[:-1] - 1
pale = gasf_clamped(returns)
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
field(axes[0], blank, "prices clamped")
field(axes[1], pale, "returns clamped")
field(axes[2], gasf(window), "prices rescaled")
plt.show()

# %%
assert np.ptp(blank) == 0
assert np.ptp(pale) < 0.05
assert np.ptp(gasf(window)) > 1.9

# %% [markdown]
# `gasf` never clamps, because clamping hides the error. It rescales each window, or takes bounds
# from the training data; a value outside the bounds is an error that you see.

# %%
try:
    gasf(prices, bounds=(-1, 1))
except ArgumentError as error:
    print(error)

# %% [markdown]
# **Nothing moves.** In a constant window the rescaling is 0/0, so the code has to decide what to
# do. `gasf` treats the window as lying at the low end of its range, as pyts and scikit-learn do,
# which gives a flat picture of ones, and a GADF of zeros. Aggregation makes this harder than it
# looks, because the means of equal numbers may differ in their last bit, and a careless rescaling
# stretches that bit to a full picture.

# %%
constant = np.full(48, 61_234.1)
means = np.array([part.mean() for part in np.array_split(constant, 7)])
# rounding: segments of seven bars and of six
assert 0 < np.ptp(means) < 1e-10
careless = gasf_by_hand(means)

# %%
assert np.ptp(careless) == 2  # texture out of nothing
assert np.unique(gasf(constant, 7)).tolist() == [1]
assert np.unique(gadf(constant, 7)).tolist() == [0]

# %% [markdown]
# **The scale is gone.** Each window is stretched to the same range, so a calm hour and a wild
# one give the same picture. If the size of a move matters, give all windows the same bounds,
# or put the volatility beside the picture as a channel of its own.

# %%
calm = 100 + rise / np.ptp(rise)
wild = 100 + 10 * rise / np.ptp(rise)
np.testing.assert_allclose(gadf(calm), gadf(wild), atol=1e-5)
bounds = (80.0, 120.0)
shares = [float(np.ptp(gadf(v, bounds=bounds))) for v in (calm, wild)]

# %%
assert shares[1] > 5 * shares[0]

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Think of a window as points on a half circle, and of a field as a square that
# compares every bar with every other. That such a texture looks rich does not mean that it holds
# the answer.
#
# *Proved.* A GASF is blind to direction ({prf:ref}`thm-gasf-mirror`), so from it alone no rule
# tells a rise from its mirror image more often than a coin ({prf:ref}`prop-gasf-coin`), and both
# fields need two vectors only ({prf:ref}`prop-gramian-rank`). The claim that a GASF encodes a
# series, so that rise and fall look different, fails.
#
# *Measured here.* On planted drifts small nets that saw the GASF guessed, while those that saw the
# GADF, or a GASF of the range from zero to one, came close to the rule. In the stored race the
# fields were made at a rate comparable with that of filling memory.
#
# *Open.* Whether either field helps to forecast a real market was not asked.
# ```
#
# ## Summary
#
# - Rescale a window to $[-1, 1]$, read each value as the cosine of an angle, and compare all
#   pairs: sums of angles give the GASF, differences the GADF.
# - The addition theorem shows that both matrices have a rank of at most 2, so making large ones
#   costs about as much as writing them.
# - The GASF of $p$ and of $-p$ is the same picture. A net fed GASF alone guessed direction in
#   our trial; GADF, or a GASF of the range $[0, 1]$, brought it to what the rule reaches.
# - Never clamp, because that hides a missing rescaling. Say what a constant window gives.
#   Per-window scaling hides volatility, because every window is stretched to the same range.
#
# ## Exercises

# %% [markdown]
# ```{exercise} Angles by hand ★
# :label: ex-gramian-1
# Take the closes 10, 30, 20, and write down the angles, the GASF and the GADF without a computer.
# ```
#
# ```{solution-start} ex-gramian-1
# :class: dropdown
# ```
# The rescaled values are $-1, 1, 0$, the angles $\pi, 0, \pi/2$.

# %%
by_pencil_sum = [[1, -1, 0], [-1, 1, 0], [0, 0, -1]]
by_pencil_difference = [[0, 0, 1], [0, 0, -1], [-1, 1, 0]]
three = np.array([10.0, 30.0, 20.0])

# %%
assert gasf(three).tolist() == by_pencil_sum
assert gadf(three).tolist() == by_pencil_difference

# %% [markdown]
# The GADF pixel of the lowest and the highest bar is $\sin(\pi - 0) = 0$. An angle difference of
# $\pi$ leaves no trace, so the largest possible move is as dark as none at all. In a real window the
# sign survives because other pairs show it.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Which way does time run? ★★
# :label: ex-gramian-2
# What happens to the GASF and to the GADF of a window when you reverse it in time? Then mirror a
# GADF left to right, turn it by 180 degrees, and transpose it, three augmentations that are common
# for photographs. Of which window is each the picture, and which of them turn a rise into a fall?
# ```
#
# ```{solution-start} ex-gramian-2
# :class: dropdown
# ```
# <!-- number: 180 by definition of half a turn -->
# Both pictures of the reversed window are the old ones turned by 180 degrees. So an
# augmentation that turns by 180 degrees shows the window backwards in time, and a rise becomes
# a fall. Transposing a GADF changes its sign, because the difference of angles does, so the
# result is the GADF of the mirrored prices, and that is a fall again. A flip from left to right
# alone gives the GADF of *no* window: its diagonal, which must be zero, has moved. A net
# can tell such a picture from a real one and learn the direction from both; after a half turn or
# a transposition it cannot, because a true picture of the opposite move looks just the same.

# %%
assert np.array_equal(gasf(rise[::-1]), gasf(rise)[::-1, ::-1])
assert np.array_equal(gadf(rise[::-1]), gadf(rise)[::-1, ::-1])
assert np.array_equal(gadf(rise).T, gadf(-rise))
assert (np.diag(gadf(rise)) == 0).all()
assert (np.diag(gadf(rise)[:, ::-1]) != 0).any()

# %% [markdown]
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} A signed channel ★★
# :label: ex-gramian-3
# Keep the blind GASF, but put one number beside it: the sign of the last close minus the first, as
# a second channel that is constant over the picture. Does the pair tell a rise from its mirror
# image, and is it a fair fix?
# ```
#
# ```{solution-start} ex-gramian-3
# :class: dropdown
# ```


# %%
def with_sign(x):
    sign = np.sign(x[..., -1:, None] - x[..., :1, None])
    picture = gasf(x)
    return np.stack(
        [picture, np.broadcast_to(sign, picture.shape)], axis=-3
    )


# %%
assert with_sign(rise).shape == (2, LENGTH, LENGTH)
assert not np.array_equal(with_sign(rise), with_sign(fall))

# %% [markdown]
# It tells them apart, and the picture now says the rest up to that sign. It is fair as long as the
# sign comes from the window itself, but it is also a hint that the picture was not what carried the
# answer.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} A field of your own market ★★★
# :label: ex-gramian-own
# Take a week of bars of your own in which the price fell and the week before or after in which it
# rose. Draw both as GASF and as GADF, show them to somebody who does not know which is which, and
# ask. Then scale each window by the whole two weeks instead of by itself. What changes?
# ```
#
# ```{solution} ex-gramian-own
# :class: dropdown
# Scaled by itself, each week fills the whole range from −1 to 1, so the picture tells the shape and
# not the size of the move: a quiet week and a wild one may look alike. Scaled by both, the quiet
# week lies in a narrow band of angles, and its picture is nearly of one colour. Neither is wrong,
# because they answer two questions, and a net can only answer the one whose pictures it is shown.
# ```
#
# ## Further reading
#
# - {cite:t}`wang2015` define GASF, GADF and the {term}`Markov transition field`, which
#   {ref}`ch-recurrence-plots` takes up.
# - {cite:t}`faouzi2020` describe pyts, the package that our tests compare with.
