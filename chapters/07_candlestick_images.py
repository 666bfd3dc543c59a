# %% [markdown]
# (ch-candlestick-images)=
# # Candlestick images
#
# **What does a net see when we show it a chart, and what have we hidden from it?**
#
# ```{admonition} What you will do
# :class: tip
# - draw a candle with a pencil, pixel by pixel, and check the program against it
# - divide the width so that any number of candles fills it
# - measure what a picture keeps of a price, and what it rounds away
# - build a picture of three sources, one in each colour channel
# - find out why a calm day and a wild day can be the same picture, and fix it
# ```
#
# *You need* {ref}`ch-candles`. *Runs* in under 20 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np

from setrade import candles, charts, pictures, races
from setrade.plots import NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
N_BARS = 56  # candles in a chart: 224 / 56 = 4 columns each
SIZE = 224  # side of a picture, what EfficientNet-B0 was trained on
N_STREAM = 4_000  # windows sent through the loader

# %% [markdown]
# ## 1 One candle, with a pencil
#
# Up to here a net got the market as channels. The EfficientNet chapter shows it a chart instead, as
# traders see it. A bar is five numbers, and a chart of it is a grid of pixels. Everything between
# the two is a decision. Because each decision keeps something and loses something, we make them one
# by one.
#
# **Rows are prices.** Row 0 is the top, as in every picture, and the prices between the highest and
# the lowest are spread evenly over the rows.
#
# ```{prf:definition} The row of a price
# :label: def-price-row
#
# Let there be $R \ge 2$ rows, and let $p_\text{low} < p_\text{high}$ be the lowest and the highest
# price to be drawn. The highest belongs to row 0, the lowest to row $R - 1$, and a price $p$
# between them to the nearest row:
#
# $$r(p) = \text{nearest whole number to}\;\;
# \frac{p_\text{high} - p}{p_\text{high} - p_\text{low}}\,(R - 1).$$
# ```
#
# Take a bar that opens at 1, climbs to 4, falls to 0 and closes at 3, and five rows. Then the
# formula is simply $r = 4 - p$: the high goes to row 0, the close to row 1, the open to row 3 and
# the low to row 4. Paint the rows of open to close, both included, to get the **body**. Paint the
# rows of high to low in the middle column to get the **wick**. With `U` for the body of a rising
# candle and `u` for its wick, it must look like this.
#
# ```text
# .u..      row 0: the high, 4
# UUU.      row 1: the close, 3
# UUU.
# UUU.      row 3: the open, 1
# .u..      row 4: the low, 0
# ```
#
# The last column stays empty, because without such a gap neighbouring bodies would run together.
#
# **Columns are time.** With $n$ candles and $W$ columns, candle $i$ owns the columns from
# $\lfloor iW/n \rfloor$ up to, but not including, $\lfloor (i+1)W/n \rfloor$. Here is the
# whole of it as a program, slow and short.


# %%
def row_of(price, low, high, rows):
    return round((high - price) / (high - low) * (rows - 1))


# %%
def draw(bars, rows, columns):
    grid = np.full((rows, columns), ".")
    low, high = min(b[2] for b in bars), max(b[1] for b in bars)
    for i, bar in enumerate(bars):
        first, top, bottom, last = (
            row_of(p, low, high, rows) for p in bar[:4]
        )
        left, right = (
            i * columns // len(bars),
            (i + 1) * columns // len(bars) - 1,
        )
        body = (
            "U" if bar[3] > bar[0] else "D" if bar[3] < bar[0] else "F"
        )
        grid[top : bottom + 1, (left + right - 1) // 2] = body.lower()
        grid[min(first, last) : max(first, last) + 1, left:right] = body
    return grid


# %% [markdown]
# We try it on three candles: the one above, a falling one, and a **doji**, which closes where it
# opened. Each is written as open, high, low, close; the volume is not needed yet.

# %%
bars = [(1, 4, 0, 3), (3, 4, 1, 2), (2, 3, 1, 2)]
grid = draw(bars, 5, 12)
print("\n".join("".join(row) for row in grid))

# %%
assert ["".join(row[:4]) for row in grid] == [
    ".u..", "UUU.", "UUU.", "UUU.", ".u..",
]

# %% [markdown]
# Read it as a trader would: a strong rise, a small fall, a moment of doubt. The doji is one row
# high, and it would be easy to lose it, because there are no rows *between* its open and its close.
# A program that paints only those leaves it out.
#
# `charts.candlesticks` does the same for a whole batch at once. It gives RGB, so to compare the two
# we choose colours that we can read: a palette of one channel, in which each {term}`ink` is its own
# number.

# %%
# (1, 5, 3)
window = np.array([(*bar, 0) for bar in bars], float).T[None]
# ink k is painted as k
numbers = np.arange(len(charts.INKS), dtype=np.uint8)[:, None]
got = charts.candlesticks(window, 5, 12, volume=False, colours=numbers)[
    0, 0
]
letters = np.array(list(".UDFudf^v=123"))
assert (letters[got] == grid).all()
print(dict(zip(charts.INKS[:7], letters.tolist(), strict=False)))

# %% [markdown]
# One detail differs, because a price halfway between two rows has two nearest rows. Python's `round`
# takes the even one, while the package takes the one further from the middle row, so that a falling
# market is drawn as the exact mirror image of a rising one. {ref}`ex-chart-2` asks you to check
# that.

# %% [markdown]
# ## 2 Real bars
#
# Now we draw the bars of {ref}`ch-candles`: fifteen minutes each, bitcoin in dollars. The lowest
# fifth of the picture is for volume, with one empty row above it. Each volume bar is scaled by the
# largest volume in the window. Two moving averages lie on top. They are computed inside the window,
# so the first six candles carry no average of seven.

# %%
market = candles.sample()
# (N, 5, 56), a view: nothing was copied
windows = candles.windows(market, N_BARS)
late = windows[-200:-199]  # one window, (1, 5, 56)
print(
    windows.shape, charts.candlesticks(late).shape,
    charts.candlesticks(late).dtype,
)

# %% mystnb={"figure": {"caption": "The same 56 candles in the three colour maps that the package brings: colour-blind safe, the green and red of the EfficientNet chapter, and grey.", "name": "fig-chart-colours"}, "image": {"alt": "Three candlestick charts of the same bars side by side, in blue and orange, in green and red, and in grey; the shapes are identical and rising candles are the brighter ones in each."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
for ax, name in zip(axes, charts.COLOURS, strict=True):
    # (3, H, W)
    picture = charts.candlesticks(late, averages=(7, 25), colours=name)[
        0
    ]
    ax.imshow(picture.transpose(1, 2, 0))  # (H, W, 3)
    ax.set(title=name, xticks=(0, 223), yticks=(0, 179, 223))
    ax.grid(False)
axes[0].set(xlabel="column (pixel)", ylabel="row (pixel)")
plt.show()

# %% [markdown]
# A colour map is a table, one row for each thing that can be painted. Two rules hold in all three
# maps. Rising and falling candles differ in *brightness*, so that an eye that cannot tell red from
# green still can tell up from down; the tests simulate the three kinds of colour blindness
# {cite:p}`machado2009` and ask for a contrast of at least 1.5. And `"grey"` says the same in a single
# channel. That is enough for a net, because it needs no hues, only numbers that differ.

# %%
for name, table in charts.COLOURS.items():
    up, down = (
        table[charts.INKS.index("up")],
        table[charts.INKS.index("down")],
    )
    print(f"{name:5} up {up.tolist()}  down {down.tolist()}")
grey = charts.candlesticks(late, colours="grey")

# %%
assert (grey[:, 0] == grey[:, 1]).all()
assert (grey[:, 0] == grey[:, 2]).all()

# %% [markdown]
# ## 3 Filling the width
#
# <!-- number: 44 by $224 - 3 \cdot 60$ -->
# We gave candle $i$ the columns from $\lfloor iW/n \rfloor$ on. Why not simply $\lfloor W/n \rfloor$
# columns for each candle? Because the rest of the division would be thrown away. With 60 candles in
# 224 columns each would get 3, and 44 columns at the right stay black, which is where the newest
# bars belong.

# %%
for n in (60, 120, 200):
    used = n * (SIZE // n)
    edges = np.arange(n + 1) * SIZE // n
    sizes = np.unique(np.diff(edges)).tolist()
    print(
        f"{n:3} candles: equal columns use {used / SIZE:.0%}, ours are "
        f"{sizes} wide"
    )

# %%
assert 120 * (SIZE // 120) / SIZE < 0.54
assert edges[-1] == SIZE

# %% [markdown]
# Exact division costs nothing and always fills the width, but it makes some candles one column
# wider than others.
#
# ```{prf:proposition} Exact division fills the width
# :label: prop-exact-columns
#
# For $1 \le n \le W$ the columns from $\lfloor iW/n \rfloor$ up to, but not including,
# $\lfloor (i+1)W/n \rfloor$, with $i$ from 0 to $n - 1$, cover each of the $W$ columns exactly
# once. Each candle gets $\lfloor W/n \rfloor$ or $\lceil W/n \rceil$ of them, and so at least one.
# ```
#
# ```{prf:proof}
# The first edge is 0, the last is $W$, and each candle begins where the one before it ends. Two
# numbers that lie $W/n$ apart have whole parts that differ by $\lfloor W/n \rfloor$ or
# $\lceil W/n \rceil$, and $\lfloor W/n \rfloor \ge 1$.
# ```
#
# Where $n$ divides $W$, as 56 divides 224, all are equal. That is why this chapter shows 56 candles
# and not 60.
#
# What about 300 candles in 224 columns? They cannot be drawn, because each needs at least one
# column. A program that draws them anyway lays some on top of others, and nobody notices. This one
# therefore refuses to draw them.

# %%
try:
    charts.candlesticks(candles.windows(market, 300)[:1])
except ValueError as error:
    print(error)
else:
    raise AssertionError("300 candles were drawn in 224 columns")

# %% [markdown]
# ## 4 What a pixel keeps
#
# A price becomes a row, and many prices become the same row, so something is lost. How much it is
# can be said exactly.
#
# ```{prf:proposition} What rounding to rows costs
# :label: prop-price-row
#
# In {prf:ref}`def-price-row` two neighbouring rows are
#
# $$\Delta = \frac{p_\text{high} - p_\text{low}}{R - 1}$$
#
# apart, and the price $p_\text{high} - r(p)\, \Delta$ that is read from the row of $p$ differs from
# $p$ by at most $\Delta / 2$.
# ```
#
# ```{prf:proof}
# Rounding to the nearest whole number moves a row by at most a half, and a row is $\Delta$ of
# price.
# ```
#
# To measure it, read the closes back from the picture: the close is the upper end of a rising body
# and the lower end of a falling one.


# %%
def closes_from(inks):
    """Rows of the closes, read from one chart of ink numbers (H, W)."""
    up, down = charts.INKS.index("up"), charts.INKS.index("down")
    rows = []
    # the first column of each body
    for column in np.arange(N_BARS) * SIZE // N_BARS:
        body = np.flatnonzero(
            (inks[:, column] >= up) & (inks[:, column] <= up + 2)
        )
        rows.append(
            body.max() if inks[body[0], column] == down else body.min()
        )
    return np.array(rows)


# %%
inks = charts.candlesticks(late, volume=False, colours=numbers)[0, 0]
high, low = late[0, 1].max(), late[0, 2].min()
step = (high - low) / (SIZE - 1)
error = (high - closes_from(inks) * step - late[0, 3]) / step  # in rows
print(
    f"a row is ${step:.2f}; largest error {np.abs(error).max():.2f} "
    "rows"
)

# %%
assert np.abs(error).max() <= 0.5

# %% [markdown]
# <!-- number: 15 from setrade/candles/files.py -->
# <!-- number: 0.01 by definition of a basis point -->
# The error is half a row at most, as promised, and nothing else: the chart *is* the series,
# rounded. Whether that is fine or coarse depends on how much the market moves. We therefore compare
# the height of a row with the typical body of a 15-minute candle, for pictures of several sizes.
# Both are given in basis points of the price (1 bp = 0.01 %), as medians over all windows of the
# sample.

# %%
span_bps = (
    (windows[:, 1].max(1) - windows[:, 2].min(1))
    / windows[:, 3, -1]
    * 1e4
)
body_bps = float(
    np.median(np.abs(market["close"] / market["open"] - 1)) * 1e4
)
heights = np.array([16, 32, 64, 128, 224])
# what the volume bars leave
price_rows = heights - heights // charts.VOLUME_PART - 1
row_bps = np.median(span_bps) / (price_rows - 1)
for height, bps in zip(heights, row_bps, strict=True):
    print(
        f"{height:3} px: a row is {bps:4.1f} bp, a body "
        f"{body_bps / bps:3.1f} rows"
    )

# %% mystnb={"figure": {"caption": "Height of one pixel row, in basis points of the price, against the height of the picture; the typical body of a 15-minute candle for comparison.", "name": "fig-chart-resolution"}, "image": {"alt": "A falling curve of the price step of one row against picture height; at 32 pixels a row is nearly as high as the typical body, at 224 pixels it is about nine times finer."}}
fig, ax = plt.subplots()
ax.plot(heights, row_bps, "o-", color=UP, label="one row")
ax.axhline(body_bps, color=NEUTRAL, ls="--", label="median body")
ax.set(xscale="log", yscale="log", xlabel="height of the picture (px)")
ax.set(ylabel="price (bp)", xticks=heights, xticklabels=heights)
ax.set(yticks=(2, 5, 10, 20), yticklabels=(2, 5, 10, 20))
ax.minorticks_off()
ax.legend()
plt.show()

# %%
assert (np.diff(row_bps) < 0).all()
assert 1.0 < body_bps / row_bps[1] < 1.5  # 32 px: about one row
assert 8.0 < body_bps / row_bps[-1] < 10.0  # 224 px: about nine

# %% [markdown]
# <!-- number: 30,000, 60,000 by example, prices of bitcoin -->
# At 224 pixels a typical body is about nine rows high, and its size can be read well. At 32 pixels
# it is about one row: the picture still says up or down, by colour, but hardly how much. So when a
# small net on small pictures finds little, one reason may be that the pictures are too coarse.
#
# What else is lost, at any size?
#
# - the **level**: 30,000 dollars or 60,000, the picture is the same;
# - the **unit of volume**, and with it whether today is busier than yesterday;
# - the **time** of day and the length of a bar;
# - the **volatility**, which is the subject of «What goes wrong».

# %% [markdown]
# ## 5 Three sources, three channels
#
# A colour picture has three channels, and a chart does not need them, because grey said the same.
# So the EfficientNet chapter proposes to fill them with three different things: candles, the
# {term}`volume profile`, and the imbalance of the order book. `pictures.compose` does that.
#
# The **volume profile** is the volume traded at each price. Candles do not tell where inside a bar
# the volume was. We therefore spread it evenly from low to high, which is an assumption to be aware
# of. The profile then uses the same rows as the candles, so that a bright row in channel 1 lies at
# the price of the candles in the same row of channel 0. No volume may be lost on the way.

# %%
bars = np.array(
    [(1, 3, 1, 3, 8), (4, 4, 4, 4, 5), (0, 0, 0, 0, 1)], float
)
profile = pictures.volume_profile(bars.T[None], rows=5)[0]
print(profile.tolist(), "sum", profile.sum())

# %%
assert profile.sum() == bars[:, 4].sum()

# %% [markdown]
# To check it by hand, take the first candle, which has a volume of 8 and reaches from 3 down to 1.
# That is two rows of height 1: half of the row at 3, the whole row at 2 and half of the row at 1.
# So they get 2, 4 and 2. The second candle is a point at 4 and leaves its 5 there, and the third is
# a point at 0 with a volume of 1.
#
# The **imbalance** of the book is $(b - a) / (b + a)$ with $b$ and $a$ the sizes waiting on
# the bid and the ask side. It is 1 when there are only buyers and −1 when there are only
# sellers. The sample has no order book, so here is one made up for the eye: it leans to the
# buyers and to the sellers in turn, most of all at the best level. Real books come with the
# order-book pictures, three chapters on.

# %%
wave = np.sin(np.arange(N_BARS) / N_BARS * 4 * np.pi)
lean = wave * np.array([1.0, 0.7, 0.4, 0.2])[:, None]  # (levels, bars)
composed = pictures.compose(late, lean[None])  # (1, 3, 224, 224)
print(composed.shape, composed.dtype)

# %% mystnb={"figure": {"caption": "One composed picture: its three channels, and the three together as red, green and blue.", "name": "fig-chart-composed"}, "image": {"alt": "Four panels: grey candles, horizontal bands of volume that are brightest where the price stayed longest, a wave of imbalance that fades towards deeper levels, and their combination as one colour picture."}}
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.1))
titles = ("0 candles", "1 volume profile", "2 imbalance", "as RGB")
for ax, plane, title in zip(
    axes, (*composed[0], None), titles, strict=True
):
    shown = composed[0].transpose(1, 2, 0) if plane is None else plane
    ax.imshow(shown, cmap="gray", vmin=0, vmax=255)
    ax.set(title=title, xticks=(), yticks=())
axes[0].set(xlabel="time", ylabel="price")
plt.show()

# %%
red, green, blue = composed[0].astype(int)
total = pictures.volume_profile(late, SIZE)[0]
# the busiest price is the brightest row
assert green[total.argmax()].max() == 255
np.testing.assert_allclose(total.sum(), late[0, 4].sum())

# %%
# all bids at the crest of the wave, best level
assert blue[0, 4 * 7] == 255
assert blue[0, 4 * 21] == 1  # all asks in its trough

# %% [markdown]
# The last panel is for the eye only, because a net does not blend channels. Its first layer weighs
# each of the three planes separately, as if they were three pictures.
#
# One place in the package maps pictures to what a net is given, float32 in [0, 1]: bytes are
# divided by 255, and the fields of {ref}`ch-gramian-fields`, which lie in [−1, 1], are moved
# there.

# %%
x = pictures.to_input(composed)
print(tuple(x.shape), x.dtype, float(x.min()), float(x.max()))
assert float(x[0, 0].max()) * 255 == red.max()

# %% [markdown]
# ## 6 Made when needed
#
# There are as many pictures as windows, and each takes $3 \cdot 224 \cdot 224$ bytes, four times as
# many once they are floats. A hundred thousand windows would fill 60 GB as float32. So instead of
# storing them, draw a batch when the net asks for it, into memory that is kept and used again.

# %%
# up over the window?
labels = (windows[:, 3, -1] > windows[:, 0, 0]).astype(np.int64)
data = pictures.PictureSet(
    windows, labels, pictures.encoder("candles", 64),
    rows=np.arange(N_STREAM),
)
seen = {"pictures": 0, "buffers": set()}
for x, _ in data.stream(256, seed=0):  # x: (256, 3, 64, 64), float32
    seen["pictures"] += len(x)
    seen["buffers"].add(x.data_ptr())
print(
    f"{seen['pictures']} pictures, one buffer, "
    f"{data.stack.nbytes / 1e6:.1f} MB"
)

# %%
assert len(seen["buffers"]) == 1
assert data.stack.nbytes == 256 * 3 * 64 * 64 * (1 + 4)
# GB, if they were all stored
assert round(100_000 * 3 * SIZE**2 * 4 / 1e9) == 60

# %% [markdown]
# The product in the second assert is the whole memory: 256 pictures of three channels, a
# byte for each number as drawn and four as a float. The number of windows does not appear in
# it. A test sends 100,000 windows through and watches the memory of the process.
#
# This works only if drawing is fast. The stored benchmark (`bench.json`, made by
# `make bench BENCH=charts`) raced our rasteriser against two others on the same machine: Pillow,
# which draws rectangles one after the other, and mplfinance, which draws charts for people. How
# many times faster it is differs from processor to processor, so the book quotes the least that was
# measured, and says on what.

# %%
drawn = races.least("test_candlesticks_224", "pictures_a_second")
pillow = races.least("test_candlesticks_224", "pillow")
publisher = races.least(
    "test_candlesticks_against_mplfinance", "mplfinance"
)
print("60 candles at 224 x 224:", drawn.say("pictures a second"))
print("faster than Pillow:", pillow)
print("faster than mplfinance:", publisher)

# %%
assert pillow.ratio > 10 and publisher.ratio > 500

# %% [markdown]
# The speed comes from drawing a tall candle at no more cost than a short one. The painter marks
# only the *edges* of a rectangle: its first row, and the row after its last. Then one pass down the
# picture lets each row take over the row above it, and flips at each mark. The flip is an exclusive
# or, `^` in Python: done once it switches the colour on, done again it switches it off. Four lines
# show the idea in one column.

# %%
column = np.zeros(8, np.uint8)
column[2] ^= 200  # the rectangle begins in row 2 ...
column[6] ^= 200  # ... and row 6 is the first one after it
print(np.bitwise_xor.accumulate(column).tolist())

# %%
assert np.bitwise_xor.accumulate(column).tolist() == [
    0, 0, 200, 200, 200, 200, 0, 0,
]

# %% [markdown]
# ## What goes wrong
#
# The EfficientNet chapter lists what a candlestick picture encodes, and among it "volatility
# (candle size)". To test that claim, take our window and make it twice as wild: double every
# distance from the last close.

# %%
wild = late.copy()
last = late[:, 3:4, -1:]
wild[:, :4] = last + 2 * (late[:, :4] - last)
both = np.concatenate([late, wild])
trap = charts.candlesticks(both)
print("pixels that differ:", int((trap[0] != trap[1]).sum()))

# %%
assert (trap[0] == trap[1]).all()

# %% [markdown]
# Not one pixel differs, because the price scale of each picture runs from its own lowest to its own
# highest price. When the moves double, the scale doubles too, so the picture stays the same.
#
# ```{prf:proposition} A scale of its own hides volatility
# :label: prop-own-scale
#
# Let a window that moves be drawn on the scale from its own lowest to its own highest price. If
# every price $p$ in it becomes $a + b\,p$ with a number $a$ and one $b > 0$, and the volumes stay,
# then its chart stays the same.
# ```
#
# ```{prf:proof}
# In the fraction of {prf:ref}`def-price-row` $a$ cancels in every difference and $b$ in the
# quotient, so each price, and each average of prices, keeps its row. Whether a candle rose or fell
# stays too, and with it the colour.
# ```
#
# **Scaling each window by itself erases the unit of volatility**, and no net can tell a window from
# the same one twice as wild. What is left is what shape betrays, for in real markets calm and wild
# windows differ in shape too.
#
# The fix is a scale that does not depend on how far the window moved. `reference_range` takes a
# fixed share of the last close, say 5 % up and 5 % down, and so it uses nothing that came after the
# window. `smallest_span` says what share a window needs. We choose it on the first 70 % of the
# windows, the training part, so that 95 % of them fit.

# %%
needed = charts.smallest_span(windows)
train = int(0.7 * len(windows))
span = float(np.quantile(needed[:train], 0.95))
# windows that share no bar with the training part
later = needed[train + N_BARS :]
print(
    f"span {span:.1%}; of the later windows "
    f"{np.mean(later > span):.1%} need more"
)

# %%
calm, stormy = windows[[needed.argmin()]], windows[[needed.argmax()]]
pair = np.concatenate([calm, stormy])
# (2, 2): low and high of each
limits = charts.reference_range(pair, span)
mended = charts.candlesticks(pair, price_range=limits, outside="clip")
hidden = charts.candlesticks(pair)
ratio = needed.max() / needed.min()
print(
    f"the wildest window moved {ratio:.0f} times as far as the calmest"
)

# %% mystnb={"figure": {"caption": "The calmest and the wildest window of the sample, scaled each by itself (left two) and by one reference range around the last close (right two).", "name": "fig-chart-volatility"}, "image": {"alt": "Four charts: scaled by themselves the calm and the wild window both fill the picture; on a common scale the calm one is a thin line of candles across the middle and the wild one reaches beyond the edge."}}
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.2))
titles = (
    "calm, own scale", "wild, own scale", "calm, common",
    "wild, common",
)
for ax, picture, title in zip(
    axes, (*hidden, *mended), titles, strict=True
):
    ax.imshow(picture.transpose(1, 2, 0))
    ax.set(title=title, xticks=(), yticks=())
axes[0].set(xlabel="time", ylabel="price")
plt.show()


# %%
def painted_rows(picture):
    """How many of the price rows carry a candle."""
    return int(
        picture[:, : SIZE - SIZE // charts.VOLUME_PART - 1]
        .any((0, 2))
        .sum()
    )


own, common = (
    [painted_rows(p) for p in hidden],
    [painted_rows(p) for p in mended],
)
print("rows used, own scale", own, "common scale", common)

# %%
assert own == [179, 179]
assert common[1] > 4 * common[0]

# %% [markdown]
# On the common scale volatility is visible again, but something else is lost for it. The calm
# window now uses a few rows only, so its candles are drawn coarsely. The wild one, on the other
# hand, leaves the picture. That is an error by default; here we asked for `outside="clip"`, which
# draws on the edge what lies beyond it: the dashes along the lowest row of prices in the last
# panel.
#
# Every scale loses something, so you have to choose what to lose, and you should know what it is. A
# net that gets both scales, as channels, need not choose.

# %% [markdown]
# <!-- number: 15 from setrade/candles/files.py -->
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A chart is a picture in which a trader sees rises, falls and doubts. What a net is
# given are planes of numbers, and of the market only what the drawing kept.
#
# *Proved.* Rounding to rows moves a price by at most half a row ({prf:ref}`prop-price-row`), exact
# division fills the width ({prf:ref}`prop-exact-columns`), and a scale of its own hides a window's
# volatility ({prf:ref}`prop-own-scale`). So the claim that the size of a candle shows volatility
# fails for such a scale.
#
# *Measured here.* In one real sample a typical body is about a row high in small pictures, and
# several rows in large ones. In the stored race the rasteriser was faster than both of its rivals
# on every processor that ran it.
#
# *Open.* Whether any net forecasts better from such pictures than from the numbers behind them was
# not asked here.
# ```
#
# ## Summary
#
# - A chart is the series rounded to rows; at 224 pixels a row is a ninth of a typical 15-minute
#   body, at 32 pixels nearly a whole one, and the rounding is at most half a row.
# - Columns by exact division fill the width with any number of candles; more candles than
#   columns are refused.
# - A doji has a body of one row. Up and down differ in brightness, not in hue alone, for eyes that
#   cannot tell red from green.
# - Composed pictures carry candles, volume by price and the book's imbalance as channels.
# - Pictures are drawn when needed, in the memory of one batch.
# - Scaling each window by itself hides volatility, while a {term}`reference range` shows it.

# %% [markdown]
# ## Exercises
#
# ```{exercise} A price and its row ★
# :label: ex-chart-1
# A chart has 179 price rows from 60,000 to 61,780 dollars. To which row does a price of
# 61,000 go? How many dollars is a row? By how many dollars may a close that you read from
# the picture be wrong?
# ```
#
# ```{solution-start} ex-chart-1
# :class: dropdown
# ```

# %%
print(
    row_of(61_000, 60_000, 61_780, 179), "row,", 1780 / 178, "dollars,",
    1780 / 178 / 2,
)

# %%
assert row_of(61_000, 60_000, 61_780, 179) == 78

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The market upside down ★★
# :label: ex-chart-2
# Turn a window upside down: put $-p$ for every price, and remember that the high and the low change
# places. Show that its chart is the chart of $p$ upside down, with rising and falling candles
# exchanged. Suppose that some other kind of picture showed a window and its mirror image alike. Why
# would you distrust a net that told rises from falls in such pictures?
# ```
#
# ```{solution-start} ex-chart-2
# :class: dropdown
# ```

# %%
mirror = np.stack(
    [-late[:, k] for k in (0, 2, 1, 3)] + [late[:, 4]], axis=1
)
options = {"height": 223, "volume": False, "colours": numbers}
there, back = (
    charts.candlesticks(w, **options)[0, 0] for w in (late, mirror)
)
swap = np.arange(len(charts.INKS))
swap[[1, 2, 4, 5]] = [2, 1, 5, 4]  # up and down, bodies and wicks

# %%
assert (swap[back] == there[::-1]).all()

# %% [markdown]
# The picture has 223 rows, because with an odd number one row lies exactly in the middle, and no
# price there has to be rounded up or down. A net that tells rises from falls in pictures that are
# alike would have to read something else than the market: a leak, or the order of the files. Charts
# keep direction, but the GASF of {ref}`ch-gramian-fields`, a picture made of angles, does not.
#
# ```{solution-end}
# ```
#
# ```{exercise} A calm picture of what happened next ★★
# :label: ex-chart-3
# A friend scales every chart by the lowest and highest price of the *whole* sample. It shows
# volatility, too, and yet something is wrong with it. Make that visible with two facts about the
# sample.
# ```
#
# ```{solution-start} ex-chart-3
# :class: dropdown
# ```

# %%
whole = market["low"].min(), market["high"].max()
early = candles.windows(market.iloc[:2000], N_BARS)[-1:]
known = market["high"].iloc[:2000].max()
print(
    f"highest price of the sample {whole[1]:,.0f}, known by then "
    f"{known:,.0f}"
)
rows = painted_rows(charts.candlesticks(early, price_range=whole)[0])
print(f"rows that this window uses: {rows} of 179")

# %%
assert whole[1] > known

# %% [markdown]
# The scale knows a price that had not been paid yet: a picture near its top says that the market is
# near the top of its *future* range. It also wastes most rows on prices that the window never came
# near.
#
# ```{solution-end}
# ```
#
# ```{exercise} Your market as pictures ★★★
# :label: ex-images-own
# Draw fifty windows of bars of your own, hide what came after, and write down for each whether the
# next bars rose. Then count how often you were right, and let somebody else do it with the same
# pictures.
# ```
#
# ```{solution} ex-images-own
# :class: dropdown
# Draw the windows by a seeded generator, so that nobody chose them. Fifty answers have an interval
# of about fourteen points either way, which holds a coin for nearly everybody. If you are far
# better, look for what the picture gave away: a scale that includes the future, a file name in the
# order of time. The agreement between the two of you says how much of the answer lies in the
# picture rather than in the person.
# ```
#
# ## Further reading
#
# {cite:t}`jiang2023` draw years of daily prices of US stocks as small black-and-white charts
# and train convolutional nets on them; their pictures are a good second look at every
# decision of this chapter. {cite:t}`machado2009` give the matrices that simulate how
# colour-blind people see.
