# %% [markdown]
# (ch-mbconv)=
# # The MBConv block
#
# **Where do the 5,288,548 parameters of EfficientNet-B0 come from?**
#
# ```{admonition} What you will do
# :class: tip
# - take a convolution apart, and count what the pieces cost with a pencil
# - write the block of EfficientNet by hand, and compare it with the package
# - add up B0 to the published number, and let one wrong line make it three million too large
# - see why the same weights give other answers under TensorFlow's padding
# - take gates and swishes out of a net that learns, and see what they were worth
# ```
#
# *You need* {ref}`ch-se-math` and {ref}`ch-candlestick-images`. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# %%
from setrade import candles, charts, compat, results
from setrade import efficientnet as en
from setrade.pictures import to_input
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
SIDE = 224  # pixels, the side of B0's pictures
N_BARS = 28  # candles in the picture on show
# pixels, for the comparison with timm; a GPU reader takes 224
TIMM_SIDE = 96

# %% [markdown]
# ## 1 A convolution taken apart
#
# Part III made pictures of a market, and this part builds the net to which the EfficientNet chapter
# shows them, beginning with its smallest piece. A convolution does two jobs at once. It looks around,
# because each output pixel sees a patch of
# $k \times k$ input pixels, and it mixes, because each output channel is a sum over all input
# channels. The price is the product of the two.
#
# A **depthwise separable** convolution {cite:p}`howard2017` does one job after the other. The
# depthwise part looks around inside each channel and mixes nothing, while the pointwise part, a
# $1 \times 1$ convolution, mixes and does not look around. Now the price is a sum.
#
# ```{prf:proposition} The price of a convolution, whole and taken apart
# :label: prop-separable-cost
#
# Without biases, a convolution of $k \times k$ pixels from $C_\text{in}$ to $C_\text{out}$ channels
# and its depthwise separable form have
#
# $$k^2 \, C_\text{in} \, C_\text{out} \qquad \text{and} \qquad
# k^2 \, C_\text{in} + C_\text{in} \, C_\text{out}$$
#
# weights. The second number is $1/C_\text{out} + 1/k^2$ of the first.
# ```
#
# ```{prf:proof}
# The whole convolution has one weight for each pixel of the patch and each pair of channels. The
# depthwise part has one for each pixel and channel, the pointwise part one for each pair of
# channels. Divide.
# ```
#
# Take $k = 3$ and 96 channels in and out. By pencil this gives $9 \cdot 96 \cdot 96 = 82{,}944$
# against $9 \cdot 96 + 96 \cdot 96 = 10{,}080$.

# %%
full = nn.Conv2d(96, 96, 3, padding=1, bias=False)
depthwise = nn.Conv2d(96, 96, 3, padding=1, groups=96, bias=False)
pointwise = nn.Conv2d(96, 96, 1, bias=False)
sizes = {
    "full": full.weight.numel(),
    "depthwise": depthwise.weight.numel(),
    "pointwise": pointwise.weight.numel(),
}
sizes

# %%
assert sizes["full"] == 82_944
assert sizes["depthwise"] + sizes["pointwise"] == 10_080
ratio = 10_080 / 82_944

# %%
# in general 1 / C_out + 1 / k²
assert abs(ratio - (1 / 96 + 1 / 9)) < 1e-12

# %% [markdown]
# That is an eighth of the weights and an eighth of the work, because each weight is used once at
# every pixel. Look at the split too: the part that looks around is an eleventh of the part that
# mixes. In this kind of net most of the work goes into mixing the channels, and little into
# looking at neighbouring pixels.
#
# To see what looking around gives on a chart, we put two hand-made kernels on the blue channel of
# a candlestick picture. One answers to level edges, the other to upright ones.

# %%
bars = candles.sample().iloc[400 : 400 + N_BARS]
# (1, 3, 84, 84)
chart = to_input(charts.candlesticks(bars, 84, 84, volume=False))
level = torch.tensor([[1.0, 1, 1], [0, 0, 0], [-1, -1, -1]])
# (2, 1, 3, 3), one a channel
kernels = torch.stack([level, level.T])[:, None]
twice = chart[:, 2:].expand(-1, 2, -1, -1)
edges = F.conv2d(twice, kernels, padding=1, groups=2)[0]  # (2, 84, 84)

# %% mystnb={"figure": {"caption": "A chart, and two depthwise kernels on one of its channels.", "name": "fig-mbconv-depthwise"}, "image": {"alt": "Three squares. A candlestick chart of 28 bars; the answer of the level kernel, which marks the tops and bottoms of the bodies with opposite colours; the answer of the upright kernel, which marks their left and right sides."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.7))
axes[0].imshow(chart[0].permute(1, 2, 0))
for ax, picture in zip(axes[1:], edges, strict=True):
    ax.imshow(picture, cmap="PuOr_r", vmin=-3, vmax=3)
for ax, title in zip(
    axes, ("chart", "level edges", "upright edges"), strict=True
):
    ax.set(title=title, xlabel="column, pixels", ylabel="row, pixels")
    ax.grid(False)
plt.show()

# %%
inside = edges[:, 1:-1, 1:-1]  # the frame sees the padding
blue = chart[0, 2]
by_hand = blue[:-2, 1:-1] + blue[:-2, :-2] + blue[:-2, 2:]
by_hand = by_hand - blue[2:, 1:-1] - blue[2:, :-2] - blue[2:, 2:]
torch.testing.assert_close(inside[0], by_hand)

# %%
assert (inside.abs().amax((1, 2)) > 1).all()

# %% [markdown]
# A body's top and bottom are two of its four prices, while its sides carry no price at all, so
# that level edges mark prices and upright ones do not. A trained net chooses such kernels by
# itself, one for each of its inner channels.
#
# ## 2 Swish
#
# Between the layers stands the **swish** {cite:p}`ramachandran2017`:
#
# $$\text{swish}(x) = x \, \sigma(x), \qquad
#   \text{swish}'(x) = \sigma(x) + x\, \sigma(x)\,(1 - \sigma(x)).$$
#
# It is a ReLU with a gate in place of a switch, because the number decides how much of itself
# passes. The EfficientNet chapter lists four properties, of which three can be proved at once.
#
# ```{prf:proposition} Three properties of the swish
# :label: prop-swish
#
# The swish is smooth, it is not monotonic, and it is bounded below but not above. Its slope is zero
# at one input only, which is negative.
# ```
#
# ```{prf:proof}
# A product of smooth functions is smooth. For $x \ge 0$ it is at least $x/2$, and for $x = -u < 0$
# it is $-u / (1 + e^u)$, which lies above $-u\, e^{-u} \ge -1/e$. The slope is
# $\sigma(x) \big(1 + x\, (1 - \sigma(x))\big)$, which is zero exactly where $x + e^x = -1$. The
# left side of that only rises, so it happens once, at a negative $x$; below it the swish falls,
# above it rises.
# ```
#
# The fourth, "better gradient flow than ReLU", can be read as saying that its slope is zero at this
# one input, and not at every negative one. Whether a net learns better for it is another question.

# %%
x = torch.linspace(-6, 6, 1201, requires_grad=True)
swish = x * torch.sigmoid(x)
(slope,) = torch.autograd.grad(swish.sum(), x)
torch.testing.assert_close(swish, F.silu(x))  # PyTorch's name for it
s = torch.sigmoid(x)
torch.testing.assert_close(slope, s + x * s * (1 - s))
grid, swish = x.detach(), swish.detach()

# %% mystnb={"figure": {"caption": "Swish and ReLU, and their slopes.", "name": "fig-mbconv-swish"}, "image": {"alt": "Two panels. Left: swish dips a little below zero left of the origin and follows ReLU on the right. Right: the slope of ReLU is a step from 0 to 1, that of swish rises smoothly, is negative left of about minus 1.28 and slightly above 1 right of 1.28, most so near 2.4."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.6))
axes[0].plot(grid, swish, color=UP, label="swish")
axes[0].plot(grid, grid.relu(), color=NEUTRAL, ls="--", label="ReLU")
axes[1].plot(grid, slope, color=UP)
axes[1].plot(grid, (grid > 0).float(), color=NEUTRAL, ls="--")
axes[0].set(
    xlabel="input", ylabel="output", xlim=(-6, 3), ylim=(-0.5, 3)
)
axes[1].set(xlabel="input", ylabel="slope")
axes[0].legend()
plt.show()

# %%
lowest = int(swish.argmin())
assert -0.279 < float(swish[lowest]) < -0.278  # bounded below
assert -1.29 < float(grid[lowest]) < -1.27
assert (slope[grid < -0.1] != 0).all()  # and never quite silent

# %% [markdown]
# ## 3 The block by hand
#
# With these pieces the block can be put together.
#
# ```{prf:definition} MBConv
# :label: def-mbconv
#
# A **mobile inverted bottleneck**, {term}`MBConv` for short, takes four steps in a row
# ({cite:t}`sandler2018`; the gate was added later).
#
# 1. **Expand**: a $1 \times 1$ convolution makes $e$ times as many channels. Where $e = 1$ this
#    step is left out.
# 2. **Look around**: a {term}`depthwise convolution`, perhaps with stride 2.
# 3. **Gate**: a squeeze-and-excitation block ({ref}`ch-se-math`), with a swish inside.
# 4. **Project**: a $1 \times 1$ convolution back to few channels.
#
# Each convolution is followed by a batch norm, and the first two by a swish after it. If stride and
# channels let input and output have one shape, the input is added to the result.
# ```
#
# A classical bottleneck narrows, looks and widens, while this one widens, looks and narrows, which
# is why it is called inverted. It can afford to look around on the many channels, because the
# depthwise convolution does not mix them and so costs little. The last step has no swish because
# the narrow result must keep what it has: a swish would flatten half of it.
#
# :::{figure-md} fig-diagram-mbconv
# ![Two columns. MBConv widens the channels with a 1 by 1 convolution, looks around with a depthwise convolution, gates with squeeze and excitation and narrows with another 1 by 1 convolution. Fused MBConv does the first two steps with one ordinary 3 by 3 convolution. In both, a shortcut adds the input.](_static/diagrams/mbconv.svg)
#
# Left the block of this chapter. Right the fused block of later EfficientNets, which merges its first two steps.
# :::
#
# In evaluation mode a batch norm is a scale and a shift, so the whole block, with an expansion, is
# a few lines.


# %%
def norm(x, layer):
    scale = layer.weight / (layer.running_var + layer.eps).sqrt()
    shift = layer.bias - layer.running_mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


# %%
def mbconv_by_hand(x, block):
    expand, look, project = block.expand, block.depthwise, block.project
    h = F.silu(norm(F.conv2d(x, expand[0].weight), expand[1]))
    kernel, groups = look[0].weight, h.shape[1]
    h = F.conv2d(
        h, kernel, stride=look[0].stride,
        padding=kernel.shape[-1] // 2, groups=groups,
    )
    h = F.silu(norm(h, look[1]))
    z = h.mean((2, 3))  # squeeze, (B, C)
    z = F.silu(z @ block.se.reduce.weight.T + block.se.reduce.bias)
    gate = torch.sigmoid(
        z @ block.se.expand.weight.T + block.se.expand.bias
    )
    h = norm(
        F.conv2d(h * gate[:, :, None, None], project[0].weight),
        project[1],
    )
    return x + h if h.shape == x.shape else h


# %%
torch.manual_seed(0)
pictures = torch.randn(2, 16, 20, 20)
for c_out, stride in ((16, 1), (24, 1), (24, 2)):
    block = en.MBConv(
        16, c_out, expand=6, kernel=3, stride=stride
    ).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
    with torch.no_grad():
        ours, theirs = mbconv_by_hand(pictures, block), block(pictures)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert block.residual == (c_out == 16 and stride == 1)

# %% [markdown]
# One step does nothing in evaluation: **stochastic depth** {cite:p}`huang2016`. While training,
# each example of a batch loses the whole branch with a small probability $p$, and only its shortcut
# is left; a block without a shortcut is never dropped. The others are divided by $1 - p$, so that
# the mean stays. (That is EfficientNet's form. The paper drops a layer for the whole batch, and
# scales in evaluation.) EfficientNet's code calls this step «drop connect», and our argument keeps
# that name; it is not the method called DropConnect, which zeroes single weights.

# %%
drop = en.DropConnect(0.2).train()
torch.manual_seed(0)
out = drop(torch.ones(10_000, 4, 1, 1))
values, counts = out[:, 0, 0, 0].unique(return_counts=True)
print(
    "values", values.tolist(), "share dropped",
    round(float(counts[0]) / 10_000, 2),
)

# %%
assert values.tolist() == [0, 1.25]
assert (out == out[:, :1]).all()  # all channels of an example, or none
assert abs(float(out.mean()) - 1) < 0.02
net = en.EfficientNet("b0", drop_connect=0.2)
rates = [block.drop.rate for block in net.blocks]

# %%
assert np.allclose(rates, 0.2 * np.arange(16) / 16)

# %% [markdown]
# In B0 the probability rises from 0 at the first block in equal steps. The reason that
# {cite:t}`huang2016` give for such a rise is that early blocks find the simple features which all
# later ones need.
#
# ## 4 What each part costs
#
# The second block of B0 takes 16 channels of $112 \times 112$ pixels, expands them to 96, looks
# around with a $3 \times 3$ kernel and stride 2, and gives 24 channels of $56 \times 56$.
#
# One number needs care, the hidden layer of the gate. The gate works on the 96 inner channels, but
# its hidden layer has a quarter of the *block's input* channels: $16 / 4 = 4$, not $96 / 4$.
#
# | part | parameters | {term}`multiply-adds` |
# |---|---|---|
# | expand | $16 \cdot 96 + 2 \cdot 96$ | $112^2 \cdot 16 \cdot 96$ |
# | depthwise | $9 \cdot 96 + 2 \cdot 96$ | $56^2 \cdot 9 \cdot 96$ |
# | gate | $(96 \cdot 4 + 4) + (4 \cdot 96 + 96)$ | $2 \cdot 96 \cdot 4$ |
# | project | $96 \cdot 24 + 2 \cdot 24$ | $56^2 \cdot 96 \cdot 24$ |
#
# Batch norm has two trained numbers a channel. Multiply-adds count convolutions and linear layers
# only, as the paper does. Written as code for any block, the table becomes:


# %%
def cost_by_hand(c_in, c_out, expand, kernel, stride, side):
    inside, hidden, after = c_in * expand, c_in // 4, -(-side // stride)
    parameters = {
        "expand": c_in * inside + 2 * inside if expand > 1 else 0,
        "depthwise": kernel**2 * inside + 2 * inside,
        "gate": 2 * inside * hidden + hidden + inside,
        "project": inside * c_out + 2 * c_out,
    }
    multiply_adds = {
        "expand": side**2 * c_in * inside if expand > 1 else 0,
        "depthwise": after**2 * kernel**2 * inside,
        "gate": 2 * inside * hidden,
        "project": after**2 * inside * c_out,
    }
    return parameters, multiply_adds


second = cost_by_hand(16, 24, expand=6, kernel=3, stride=2, side=112)
pd.DataFrame(second, index=["parameters", "multiply-adds"]).T

# %% [markdown]
# The same can be counted by a library: PyTorch's `FlopCounterMode` watches every operation of a
# forward pass. It counts a multiplication and an addition as two, so we halve. On the device
# `meta`, tensors have shapes but no content, and counting costs nothing.

# %%
with torch.device("meta"):
    block = en.MBConv(16, 24, expand=6, kernel=3, stride=2).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.zeros(1, 16, 112, 112))

# %%
counted = counter.get_total_flops() // 2
print(
    f"{counted:,} multiply-adds counted, {sum(second[1].values()):,} "
    "by hand"
)

# %%
assert counted == sum(second[1].values())
parts = {
    "expand": "expand",
    "depthwise": "depthwise",
    "gate": "se",
    "project": "project",
}
for part, name in parts.items():
    module = block.get_submodule(name)
    assert second[0][part] == sum(
        p.numel() for p in module.parameters()
    )

# %%
assert round(second[1]["expand"] / counted, 2) == 0.66
assert round(second[0]["gate"] / sum(second[0].values()), 2) == 0.14

# %% [markdown]
# Two thirds of this block's work is the expansion, because it runs before the stride halves
# the picture. The gate costs a seventh of the parameters and next to no work.
#
# ## 5 B0, added up
#
# The whole net is a table {cite:p}`tan2019`: expansion, kernel, stride, output channels and
# repeats of seven stages, where only the first block of a stage has the stride. In front stands a
# $3 \times 3$ convolution with stride 2 and 32 channels. Behind stand a $1 \times 1$ convolution
# to 1,280 channels, the mean over pixels, and a linear layer to 1,000 classes.
#
# <!-- number: 1,000 from setrade/efficientnet/net.py -->

# %%
rows, channels, side = [], 32, SIDE // 2
for number, stage in enumerate(en.STAGES, start=2):
    for repeat in range(stage.repeats):
        stride = stage.stride if repeat == 0 else 1
        shape = (
            channels, stage.channels, stage.expand, stage.kernel,
            stride, side,
        )
        parameters, work = cost_by_hand(*shape)
        side, channels = -(-side // stride), stage.channels
        rows.append(
            {"stage": number, "side": side, "channels": channels}
            | {("parameters", k): v for k, v in parameters.items()}
            | {("work", k): v for k, v in work.items()}
        )
blocks = pd.DataFrame(rows)

# %%
assert len(blocks) == 16

# %%
count, work = (
    blocks[[(k, p) for p in parts]].sum(axis=1)
    for k in ("parameters", "work")
)
table = blocks[["stage", "side", "channels"]].assign(
    parameters=count, work=work / 1e6
)
stages = table.groupby("stage").agg(
    blocks=("side", "size"), side=("side", "last"),
    channels=("channels", "last"), parameters=("parameters", "sum"),
    million_multiply_adds=("work", "sum"),
)
stages.round(1)

# %% [markdown]
# The blocks are not yet the whole net, so we add its two ends to them.

# %%
stem = 9 * 3 * 32 + 2 * 32
head = 320 * 1280 + 2 * 1280
classifier = 1280 * 1000 + 1000
total = stem + int(count.sum()) + head + classifier
print(
    f"{stem:,} + {int(count.sum()):,} + {head:,} + {classifier:,} = "
    f"{total:,}"
)

# %%
with torch.device("meta"):
    b0 = en.EfficientNet("b0")
assert total == sum(p.numel() for p in b0.parameters()) == 5_288_548
ends = 27 * 32 * 112**2 + 49 * 320 * 1280 + 1280 * 1000
with FlopCounterMode(display=False) as counter, torch.no_grad():
    b0.eval()(torch.zeros(1, 3, SIDE, SIDE, device="meta"))
assert counter.get_total_flops() // 2 == int(work.sum()) + ends
print(f"{(int(work.sum()) + ends) / 1e9:.3f} billion multiply-adds")

# %% [markdown]
# The sum is 5,288,548, the number that we set out to explain. The paper rounds to 5.3 million, and
# its 0.39 billion multiply-adds are the second line.
#
# Having counted the parameters, we can ask where in the net they are.

# %% mystnb={"figure": {"caption": "The sixteen blocks of B0: parameters sit at the end, work is spread over all blocks, and the kernels that look around have little of either.", "name": "fig-mbconv-cost"}, "image": {"alt": "Two stacked bar charts over the sixteen blocks. Parameters grow from a few thousand to about seven hundred thousand in the last block, split mostly between expansion and projection with a visible share of gates. Multiply-adds lie between ten and thirty-three million in every block, mostly expansion and projection, with gates invisible."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), sharex=True)
panels = zip(axes, ("parameters", "work"), (1e3, 1e6), strict=True)
hatches = ("", "///", "...", "xxx")
for ax, kind, unit in panels:
    base = np.zeros(16)
    for part, hatch in zip(parts, hatches, strict=True):
        height = blocks[(kind, part)].to_numpy() / unit
        ax.bar(
            range(1, 17), height, bottom=base, label=part, hatch=hatch,
            width=0.8,
        )
        base += height
    ax.set(xlabel="block", xticks=(1, 4, 8, 12, 16))
axes[0].set_ylabel("parameters, thousand")
axes[1].set_ylabel("multiply-adds, million")
axes[0].legend()
plt.show()

# %%
share = pd.DataFrame(
    {
        k: [blocks[(k, p)].sum() for p in parts]
        for k in ("parameters", "work")
    },
    index=list(parts),
)
share = share / share.sum()
share.round(3)

# %%
assert (
    share.loc["gate", "work"]
    < 0.01
    < 0.1
    < share.loc["gate", "parameters"]
)
assert share.loc["depthwise"].max() < 0.15
assert classifier / total > 0.24
assert count[-4:].sum() / count.sum() > 0.65
assert (work / work.sum()).between(0.02, 0.1).all()

# %% [markdown]
# <!-- number: 1,000 from setrade/efficientnet/net.py -->
# Three things are needed again for the trading nets to come.
#
# - The gates are 18 % of the blocks' parameters and well below a hundredth of their
#   work. Channel attention is nearly free in multiply-adds, which is not yet to say in seconds.
# - A quarter of B0 is its classifier for 1,000 classes. With three classes hardly any of it is left.
# - The last four blocks hold two thirds of the blocks' parameters, but no block has a tenth of
#   the work: where the picture is small, the channels are many. Halve the side of the picture
#   and the work falls to a quarter everywhere, while the parameters stay.

# %%
with torch.device("meta"):
    three = en.EfficientNet("b0", num_classes=3)
    print(
        f"{sum(p.numel() for p in three.parameters()):,} parameters "
        "for three classes"
    )

# %%
assert sum(p.numel() for p in three.parameters()) == total - 997 * 1281

# %% [markdown]
# ## 6 Two ways to pad
#
# A $3 \times 3$ kernel with stride 2 on 8 pixels gives 4 outputs, and for that it needs one pixel
# more than there is. PyTorch's `padding=1` adds one on either side, and uses only the left one.
# TensorFlow, in which EfficientNet was published, adds as few as possible and puts the odd one on
# the right. Both give 4 outputs, but they look at different pixels.

# %%
print("TensorFlow pads", en.same_pad(8, kernel=3, stride=2))
centres = {
    "PyTorch": 2 * np.arange(4), "TensorFlow": 2 * np.arange(4) + 1,
}

# %% mystnb={"figure": {"caption": "Which pixels each of four outputs sees, for stride 2 on 8 pixels.", "name": "fig-mbconv-padding"}, "image": {"alt": "Two panels of four horizontal bars over pixels 0 to 7. With PyTorch's padding the bars are centred on pixels 0, 2, 4 and 6 and the first one hangs over the left edge. With TensorFlow's they are centred on 1, 3, 5 and 7 and the last one hangs over the right edge."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.4), sharey=True)
for ax, (name, centre) in zip(axes, centres.items(), strict=True):
    ax.axvspan(-0.5, 7.5, color=NEUTRAL, alpha=0.2, lw=0)
    ax.barh(
        range(4), 3, left=centre - 1.5, height=0.5, color=UP, alpha=0.7
    )
    ax.plot(centre, range(4), "o", color=DOWN)
    ax.set(
        title=name, xlabel="pixel", xticks=range(-1, 9), yticks=range(4)
    )
axes[0].set_ylabel("output")
plt.show()

# %%
# each pixel holds its own number
ramp = torch.arange(8.0)[None, None, None]
# a kernel that reports its centre
middle = torch.tensor([[[[0.0, 1.0, 0.0]]]])
torch_way = F.conv2d(F.pad(ramp, (1, 1)), middle, stride=2)
tensorflow_way = F.conv2d(
    F.pad(ramp, en.same_pad(8, 3, 2)), middle, stride=2
)

# %%
assert torch_way.flatten().tolist() == centres["PyTorch"].tolist()
assert (
    tensorflow_way.flatten().tolist() == centres["TensorFlow"].tolist()
)

# %% [markdown]
# B0 has five such layers, so weights trained with one padding and run with the other see every
# picture shifted five times, each time by one pixel of a map half as fine as the one before, and no
# error is raised. For this reason
# `EfficientNet` has a switch: `same_padding=True` is the published form, with TensorFlow's padding
# and its batch norm constant of $10^{-3}$; `False` is PyTorch's.
#
# ## 7 The same answers as timm
#
# timm is a library of pretrained nets for pictures, and it has EfficientNet in both forms.
# `from_timm` translates its names into ours, and names the first tensor that does not fit.
# Pretrained weights are {ref}`ch-transfer-learning`'s subject, and this check does not need them:
# random weights, with batch norms that do something, must give equal answers too.

# %%
timm = compat.import_timm()


def busy(name):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


@torch.no_grad()
def largest_difference(theirs, same_padding):
    ours = en.EfficientNet("b0", 3, same_padding=same_padding).eval()
    ours.load_state_dict(en.from_timm(theirs.state_dict()), strict=True)
    torch.manual_seed(1)
    x = torch.rand(2, 3, TIMM_SIDE, TIMM_SIDE)
    return float((ours(x) - theirs(x)).abs().max())


# %%
equal = {}
for name in ("efficientnet_b0", "tf_efficientnet_b0"):
    theirs = busy(name)
    equal[name] = {
        "PyTorch's form": largest_difference(theirs, same_padding=False)
        < 1e-4,
        "published form": largest_difference(theirs, same_padding=True)
        < 1e-4,
    }
pd.DataFrame(equal).T.replace({True: "equal", False: "differs"})

# %%
assert [list(row.values()) for row in equal.values()] == [
    [True, False], [False, True],
]

# %% [markdown]
# Each form agrees with its own counterpart and with no other. The tests of the package repeat
# this for B1 and B3, and count the parameters of all eight nets.
#
# ## 8 What each part is worth
#
# Section 4 counted what the parts cost. What they are worth cannot be counted: a part has to be
# taken out, and the net trained again without it, on a task that the net learns. If it learned
# nothing, all its variants would be equally bad, and the comparison would say nothing about them.
#
# <!-- number: 48, 64 from studies/checkpoints.py -->
# Such a task is easy to make when a rule gives the answers. The charts show 48 bars, and the rule
# compares the mean close of the last 8 with that of the last 24: buy if it is higher by more than
# half the height of a usual bar, sell if it is lower by as much, hold in between. The small net
# `micro` reads this off charts of 64 pixels. To take a part out, every module of its kind is
# replaced, gates by nothing and swishes by ReLUs.


# %%
def replaced(net, kind, other):
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, other())
    return net


def size_of(net):
    return sum(p.numel() for p in net.parameters())


# %%
whole = en.EfficientNet("micro", 3)
gateless = en.EfficientNet("micro", 3)
replaced(gateless, en.SqueezeExcite2d, nn.Identity)
print(f"{size_of(whole):,} parameters, {size_of(gateless):,} without")
dropping = en.EfficientNet("micro", 3, drop_connect=0.2)
rates = [
    round(block.drop.rate, 2)
    for block in dropping.modules()
    if isinstance(block, en.MBConv) and block.residual
]
print("blocks with a shortcut are dropped in", rates, "of the cases")

# %% [markdown]
# <!-- number: 0.2 from studies/ablations.py -->
# Stochastic depth is the other way round: `micro` has none, and one variant puts it in, with a
# probability that would rise to 0.2. But only a block with a shortcut can be dropped, and `micro`
# has two, of which the first is never dropped: so this variant drops one block of eight, with a
# probability of 0.15, and says little about deep nets. Every variant is trained from ten seeds on
# the same synthetic markets, with the settings of the net that ships with the package but on half
# of its windows, to save time; so they read the rule a little less surely than that net does
# ({ref}`ch-fast-inference`). For no variant were other settings tried. (Five seeds were planned,
# and doubled once, because the differences were narrower than their scatter.) Then it is asked
# about later bars of those markets, and about the real bars of the sample, which look different:
# the net must read charts of a kind that it never saw. The score is the mean, over the three
# classes, of the share of its charts that are named rightly; one fixed answer would get a third.

# %%
found = results.load("ablations")["results"]


def span(x):
    return f"{x['estimate']:.3f} [{x['low']:.3f}, {x['high']:.3f}]"


# %%
arms, markets = found["ablations"], ("synthetic", "real")


def compared(kind):
    rows = {a: [span(arms[a][m][kind]) for m in markets] for a in arms}
    return pd.DataFrame(rows, index=markets).T


compared("mean")

# %%
for arm in arms:
    assert found["lessons"][arm]["learned"]["word"] == "learned"
    assert arms[arm]["real"]["mean"]["low"] > 0.7

# %% [markdown]
# All variants learned. A seed puts the training charts in the same order for each variant, and so
# the difference to the whole net is taken seed by seed. The intervals hold the scatter over seeds
# alone, because the markets are the same each time; other markets would add theirs.

# %%
compared("less").drop("whole")

# %% mystnb={"figure": {"caption": "What changes when a part is taken out or put in: difference to the whole net, with 95 % intervals over ten seeds.", "name": "fig-mbconv-parts"}, "image": {"alt": "Four rows, each with a circle for synthetic and a square for real markets and an error bar. All eight bars cross the dashed line at zero; without gates and swish both marks lie furthest left, with stochastic depth both lie right of it."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
others = [arm for arm in arms if arm != "whole"]
looks = ((-0.12, "synthetic", UP, "o"), (0.12, "real", DOWN, "s"))
for shift, market, colour, mark in looks:
    less = pd.DataFrame([arms[arm][market]["less"] for arm in others])
    error = [less["estimate"] - less["low"],
             less["high"] - less["estimate"]]
    ax.errorbar(
        less["estimate"], np.arange(len(others)) + shift, xerr=error,
        fmt=mark, color=colour, capsize=3, label=market,
    )
ax.axvline(0, color=NEUTRAL, ls="--", lw=1)
ax.set_yticks(range(len(others)), others)
ax.invert_yaxis()
ax.set(xlabel="difference in the mean share named rightly")
ax.legend()
plt.show()

# %%
lows = [arms[arm][m]["less"]["low"] for arm in others for m in markets]
highs = [
    arms[arm][m]["less"]["high"] for arm in others for m in markets
]

# %%
assert max(lows) < 0 < min(highs)
assert min(lows) > -0.05
assert max(highs) < 0.05
assert 30 < total / size_of(whole) < 35

# %% [markdown]
# Every interval holds zero. On this task neither the gates, nor the swishes, nor stochastic depth
# can be shown to be worth anything, one at a time. What can be said is how much they might be worth:
# each interval ends before 0.05, so that a part which here made the difference between a good net and
# a bad one would have been seen. Without gates and swishes together the mean falls furthest, and the
# interval only just reaches zero.
#
# That is less surprising than it sounds. The parts were chosen on photographs of a thousand classes,
# for nets thirty times as large and more, where small gains count. A part may also be worth something
# on harder tasks, or by making training fail less often, and this table shows neither. The
# EfficientNet chapter says that these three parts help with noisy data that change with time. Of
# that, only the step from synthetic charts to real ones is tried here.
#
# ## What goes wrong
#
# **A gate that is too wide.** "A quarter of the channels" is how many an implementation reads, and
# it leaves open of which. The gate stands inside the block, so its author naturally takes the
# expanded channels. The net trains all the same, and the mistake goes unnoticed unless somebody
# counts the parameters.

# %%
with torch.device("meta"):
    wrong = en.EfficientNet("b0")
    for block in wrong.blocks:
        inside = block.se.expand.out_features
        block.se = en.SqueezeExcite2d(inside, inside // 4)
size = sum(p.numel() for p in wrong.parameters())
print(f"{size:,} parameters, {size - total:,} too many")

# %%
assert round(size / 1e6, 1) == 8.4
gates = sum(
    p.numel() for block in wrong.blocks for p in block.se.parameters()
)

# %%
assert gates > 0.4 * size

# %% [markdown]
# It has 8.4 million parameters where 5.3 were published. Nearly half of the net is now gates, and
# no published weights fit. The fix is one argument, `c_in // 4`, and an `assert` on the published
# count, 5,288,548, keeps it fixed.
#
# **A `squeeze` too many.** The mean over pixels leaves two axes of length 1, and `.squeeze()`
# removes them. But it removes *every* axis of length 1, so with a batch of one, which is what a
# live system has at every bar, the batch goes too.

# %%
features = torch.rand(1, 3, 1, 1)  # one picture, three class scores
lost, kept = features.squeeze(), features.flatten(1)
print("squeezed", tuple(lost.shape), "flattened", tuple(kept.shape))
try:
    lost.argmax(1)
except IndexError as error:
    print("IndexError:", error)

# %%
assert kept.argmax(1).shape == (1,)
with torch.no_grad():
    alone = en.EfficientNet("micro", 3).eval()(torch.rand(1, 3, 64, 64))
assert alone.shape == (1, 3)

# %% [markdown]
# Here it raised an error, which is the harmless case, because where shapes broadcast the mistake
# stays silent. Name the axes that you mean: `x.mean((2, 3))` or `flatten(1)`.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A convolution is a worker with two jobs, looking around and mixing, and the block as
# one that gives each job to a specialist. The picture says what is cheap, not what is learned.
#
# *Proved.* Taken apart, a convolution costs a sum instead of a product
# ({prf:ref}`prop-separable-cost`), and the claimed shape of the swish holds
# ({prf:ref}`prop-swish`). The parameters of B0 and its multiply-adds are counted by hand and by a
# library, and both agree with the paper's table.
#
# *Measured here.* With random weights the block and the net gave the answers of timm, in the form
# whose padding was the same and in no other. On one rule that a small net learns from charts, no part
# could be shown to matter: gates, swish and stochastic depth each change the score by less than this
# study can tell from zero.
#
# *Open.* Whether the swish lets gradients flow better was judged by its consequence only, on that one
# task, and how the table of B0 was found is quoted. What a wrong padding costs in accuracy was not
# measured.
# ```
#
# ## Summary
#
# - A convolution looks around and mixes. Done one after the other, the two cost a sum instead
#   of a product.
# - MBConv expands, looks around, gates, projects, and adds its input back. Looking around
#   and gating need little of the work, and most of it goes into mixing the channels.
# - B0 is a table of seven stages. Added up by hand it has 5,288,548 parameters and 0.39 billion
#   multiply-adds. Most of the parameters are towards the end, while the
#   work is spread over all blocks.
# - The gate's hidden layer is a quarter of the block's input channels. TensorFlow and PyTorch
#   pad strided layers differently. Both mistakes run without an error.
# - Taken out of a small net that learns a rule from charts, no part could be shown to matter.
#
# ## Exercises

# %% [markdown]
# ```{exercise} Five by five ★★
# :label: ex-mbconv-1
# Stage 4 of B0 uses $5 \times 5$ kernels. By how much do the parameters and the multiply-adds of
# its second block (40 channels in and out, $28 \times 28$ pixels) fall with a $3 \times 3$
# kernel?
# ```
#
# ```{solution-start} ex-mbconv-1
# :class: dropdown
# ```
# The difference is $(25 - 9) \cdot 240 = 3{,}840$ weights, each used at $28^2$ pixels.

# %%
five, three = (cost_by_hand(40, 40, 6, k, 1, 28) for k in (5, 3))
fall = [
    sum(a.values()) - sum(b.values())
    for a, b in zip(five, three, strict=True)
]

# %%
assert fall == [3840, 3840 * 28**2]
relative = [
    d / sum(a.values()) for d, a in zip(fall, five, strict=True)
]
print([f"{r:.0%}" for r in relative])

# %% [markdown]
# The kernel has nearly three times the area for an eighth of the parameters and a seventh of the
# work: in a depthwise convolution looking further costs little, because no channels are mixed.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Without separation ★
# :label: ex-mbconv-2
# Replace the depthwise convolution of B0's second block by a full $3 \times 3$ convolution from
# 96 to 96 channels. How many times more work is the block?
# ```
#
# ```{solution-start} ex-mbconv-2
# :class: dropdown
# ```
# The depthwise part grows 96 times, because each channel now reads all of them and not only itself,
# while the other parts stay.

# %%
work_now = second[1]
work_full = sum(work_now.values()) + 95 * work_now["depthwise"]
times = work_full / sum(work_now.values())
print(f"{times:.1f} times")

# %%
assert 8 < times < 10

# %% [markdown]
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Padding that does not matter ★★
# :label: ex-mbconv-3
# For which sizes of the picture do TensorFlow and PyTorch pad a $3 \times 3$ kernel with stride
# 2 alike? What does that say about pictures of $75 \times 75$ pixels?
# ```
#
# ```{solution-start} ex-mbconv-3
# :class: dropdown
# ```
# They pad alike for odd sizes, because then one pixel is wanted on either side.

# %%
alike = [n for n in range(3, 30) if en.same_pad(n, 3, 2) == (1, 1)]
assert alike == list(range(3, 30, 2))
print([-(-75 // 2**k) for k in range(6)])

# %% [markdown]
# At 75 pixels the maps measure 75, 38, 19, 10, 5 and 3: the first, the third and the
# fifth strided layer pad alike, the second and the fourth do not. A test of one layer at 75
# pixels would miss the trap.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} A block for your own picture ★★★
# :label: ex-mbconv-own
# Take pictures of your own kind (charts in another size, a spectrogram, a heat map) and count for
# one MBConv and for one ordinary convolution of the same width the parameters, the multiply-adds
# and the time on your machine. Which of the three figures predicts the time?
# ```
#
# ```{solution} ex-mbconv-own
# :class: dropdown
# Counts and clocks rarely agree for depthwise layers, because they read much memory
# for each product. Time both blocks in turns, several times, and compare the ratio of the times
# with the ratio of the multiply-adds. If the two differ, the machine waits for memory, and
# {ref}`ch-fast-inference` says what helps.
# ```
#
# ## Further reading
#
# - {cite:t}`howard2017` build MobileNet from depthwise separable convolutions;
#   {cite:t}`sandler2018` turn the bottleneck inside out.
# - {cite:t}`tan2019` give the table of B0. {ref}`ch-compound-scaling` makes seven larger nets of
#   it.
# - {cite:t}`ramachandran2017` found the swish by search, {cite:t}`huang2016` the dropped branch.
