# %% [markdown]
# (ch-se-and-attention)=
# # SE and attention
#
# **Attention asks which bar to look at, squeeze and excitation asks which channel: what do they gain
# together, and what do several heads add?**
#
# ```{admonition} What you will do
# :class: tip
# - compute attention over four bars with a pencil, and check it against torch
# - mask the future, and catch a leak that a mask alone leaves open
# - put squeeze and excitation inside a transformer's encoder
# - plant two regimes at once, and see when several heads of SE are worth their weights
# - compare forecasts of three real markets by the test of Diebold and Mariano
# ```
#
# *You need* {ref}`ch-squeeze-variants` and {ref}`ch-honest-evaluation`.
# *Runs* in under 60 s on two cores.

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from setrade import results, se, toys, training
from setrade.evidence import diebold_mariano
from setrade.models import SETransformer
from setrade.models.se_transformer import EncoderLayer, later_bars
from setrade.plots import DOWN, NEUTRAL, UP, use_style

# %%
use_style()

# %% tags=["parameters"]
WINDOWS = 2_000  # of each planted task
EPOCHS = 20

# %% [markdown]
# ## 1 Attention over four bars
#
# A squeeze turns a window into one number a channel, and in doing so it treats all bars alike or by
# a rule that was fixed before. **Attention** {cite:p}`vaswani2017` lets the bars themselves say
# which of them matter now. Each bar $j$ offers a **key** $k_j$ (what it is) and a **value** $v_j$
# (what it has to say), and the bar that asks has a **query** $q$ (what it is looking for). A query
# times a key is a **score**, a {term}`softmax` turns the scores into weights $a_j$ that sum to 1,
# and the answer is the mixture of the values by these weights:
#
# $$a_j = \frac{e^{q k_j / \sqrt{d}}}{\sum_i e^{q k_i / \sqrt{d}}}, \qquad \text{answer} = \sum_j a_j v_j,$$
#
# where $d$ is how many numbers a key has. Take $d = 1$, four bars whose keys say how unusual their
# volume was, and a query of 1, which looks for unusual volume. The values are their returns in per
# cent.

# %%
keys = np.array([0, np.log(2), 0, np.log(4)])
values = np.array([2.0, -1.0, 4.0, 1.0])
e = np.exp(1.0 * keys)  # 1, 2, 1, 4
weights = e / e.sum()
print("weights", weights, "answer", round(weights @ values, 3))
# %%
assert np.allclose(weights, np.array([1, 2, 1, 4]) / 8)
assert np.isclose(weights @ values, (2 - 2 + 4 + 4) / 8)
assert values.mean() == 1.5

# %% [markdown]
# Half of the answer comes from the newest bar, because its key fits the query best. With a query of 0
# all scores would be equal, and the answer would be the plain mean, 1.5 per cent. So the mean squeeze
# is what attention does when nobody asks for anything.
#
# In a **transformer**, a net whose layers are built around attention, every bar asks. Queries, keys
# and values are three linear maps of the same bars, so with $T$ bars there are $T \times T$
# weights. We write that for four bars of two channels, with one matrix each, and hold it against
# torch's own layer.

# %%
torch.manual_seed(0)
layer = nn.MultiheadAttention(2, 1, bias=False, batch_first=True)
bars = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [2.0, 2.0], [4.0, -2.0]]])
with torch.no_grad():
    Q, K, V = (bars[0] @ W.T for W in layer.in_proj_weight.chunk(3))
    by_hand = (Q @ K.T / 2**0.5).softmax(-1)
    answer = by_hand @ V @ layer.out_proj.weight.T
    theirs, their_weights = layer(bars, bars, bars)
# %%
assert torch.allclose(answer, theirs[0], atol=1e-6)
assert torch.allclose(by_hand, their_weights[0], atol=1e-6)
print(by_hand.numpy().round(2))

# %% [markdown]
# Each row belongs to the bar that asks and sums to 1. The cost grows with the square of the window:
# twice as many bars make four times as many weights.
#
# **Several heads** repeat this with smaller maps of their own, so that one head may look for volume
# while another looks for the last turn. Torch's layer takes their number as its second argument, and
# we shall ask in section 4 what the same idea does for SE.
#
# ## 2 Nothing from later bars
#
# Count the bars from 0. Row 0 of that table gives weight to bars 1, 2 and 3, which at bar 0 have
# not happened. That does no harm as long as we only read the *newest* row, for which every bar of
# the window lies in the past. It does harm as soon as the net answers at every bar, as it does when
# all bars of a window are trained at once. The cure is a {term}`causal mask`: scores of later bars
# become $-\infty$, so that their weights are 0.

# %%
mask = later_bars(4)
with torch.no_grad():
    scores = (Q @ K.T / 2**0.5).masked_fill(mask, -torch.inf)
    causal = scores.softmax(-1)
print(causal.numpy().round(2))
# %%
# the newest row has nothing to hide
assert torch.allclose(causal[3], by_hand[3])
assert causal[mask].abs().max() == 0

# %% mystnb={"figure": {"caption": "Who looks at whom among four bars, without a mask and with a causal one. A row is the bar that asks.", "name": "fig-attention-mask"}, "image": {"alt": "Two four by four grids of weights. In the left one all cells hold weight. In the right one the cells above the diagonal are empty, the first row has its whole weight on the first bar, and the last rows of both grids are equal."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
titles = ("no mask", "causal mask")
for ax, table, name in zip(
    axes, (by_hand, causal), titles, strict=True
):
    ax.imshow(table, cmap="Greys", vmin=0, vmax=1)
    for i, j in np.ndindex(4, 4):
        dark = table[i, j] > 0.6
        ax.text(j, i, f"{table[i, j]:.2f}", ha="center", va="center",
                color="white" if dark else "black", fontsize=8)
    ax.set(
        title=name, xlabel="bar looked at", xticks=range(4),
        yticks=range(4),
    )
axes[0].set_ylabel("bar that asks")
plt.show()

# %%
assert by_hand[0, 1:].sum() > 0.3 and causal[0, 0] == 1

# %% [markdown]
# Whether the mask does its duty is not a matter of trust. The {term}`truncation test` of
# {ref}`ch-channels` computes twice, once on the whole window and once on a window that ends earlier,
# and what is said of the bars that both have must be equal. `SETransformer` is the encoder that the
# next section explains; with `causal=True` it can be asked after each bar.

# %%
torch.manual_seed(1)
X = torch.randn(64, 5, 32)
net = SETransformer(5, width=16, heads=2, causal=True).eval()
with torch.no_grad():
    whole, cut = net.each_bar(X), net.each_bar(X[..., :20])
print("answers (windows, classes, bars):", tuple(whole.shape))
# %%
assert torch.allclose(whole[..., :20], cut, atol=1e-5)
assert torch.allclose(whole[..., -1], net(X), atol=1e-5)

# %% [markdown]
# ## 3 An encoder with SE inside
#
# One layer of a transformer's **encoder** has two branches, and what each computes is added to what
# came in. The first is attention, which mixes *bars*. The second consists of two linear layers with a
# rectifier between them, applied to each bar alone, which mixes *channels*. Attention can choose
# bars, but what it takes from a bar it takes from all its channels alike, within a head. Choosing
# channels by the state of the whole window is what squeeze and excitation does, and so it can stand
# on the second branch, right before the sum, as in the residual nets of the paper {cite:p}`hu2018`:
#
# $$x \leftarrow x + \text{attention}(x), \qquad x \leftarrow x + s(h) \odot h, \quad h = \text{layers}(x).$$
#
# Here $s(h)$ are the gates, one a channel, and $\odot$ multiplies channel by channel. (The norm
# before each branch is left out of the formula.) If all gates are 1, nothing is left of SE, and the
# layer must be torch's. That is a test we can write.

# %%
torch.manual_seed(0)
ours = EncoderLayer(8, heads=2)
peer = nn.TransformerEncoderLayer(
    8, 2, 16, 0.0, batch_first=True, norm_first=True
)
names = {
    k.replace("attention.", "self_attn."): w
    for k, w in ours.state_dict().items()
}
peer.load_state_dict(names)
# %%
ours.se = se.MultiHeadSE(8, heads=1)
ours.se.blocks[0].excite.expand.weight.data.zero_()
# its sigmoid is 1
ours.se.blocks[0].excite.expand.bias.data.fill_(40.0)
# %%
x = torch.randn(2, 12, 8)
assert torch.allclose(ours(x), peer(x), atol=1e-6)

# %% [markdown]
# ### A mask is not enough
#
# Now comes the point that is easily missed. The squeeze is a mean over *all* bars of the window. In
# a net that answers at every bar, the gate of bar 5 would then know bar 20, although attention
# itself is masked. So the squeeze has to be causal as well: the gate at bar $t$ is computed from
# the mean of the bars up to $t$, a running mean. At the newest bar both are the same, so in a net
# of one layer the newest bar's answer is the same.
#
# With a pencil: the channel 2, 4, 9 has the mean 5, and the running means 2, 3 and 5.

# %%
x = torch.tensor([[[2.0, 4.0, 9.0]]])
running = x.cumsum(-1) / torch.arange(1, 4)
# %%
print(running.tolist())
assert torch.equal(running, se.RUNNING["mean"](x))
assert running[0, 0, -1] == x.mean()

# %%
# other last bars
changed = torch.cat([X[..., :20], torch.randn(64, 5, 12)], -1)


def by_bar(mask, causal):
    """Return by how much a layer's bars change when those from 20 on
    become others."""
    torch.manual_seed(1)
    layer = EncoderLayer(5, heads=1)
    layer.se = se.MultiHeadSE(5, heads=1, reduction=1, causal=causal)
    with torch.no_grad():
        states = [
            layer(part.transpose(1, 2), mask) for part in (X, changed)
        ]
    return (states[0] - states[1]).abs().mean((0, 2)).numpy()


# %%
leaks = {
    "no mask": by_bar(None, True),
    "mask, squeeze of all bars": by_bar(later_bars(32), False),
    "mask, running squeeze": by_bar(later_bars(32), True),
}
for name, gap in leaks.items():
    print(
        f"{name:26} bars before the change move: "
        f"{bool(gap[:20].max() > 1e-4)}"
    )

# %% mystnb={"figure": {"caption": "How much each bar's state moves when the bars from 20 on are replaced by others, on a logarithmic scale; zero is drawn at its lower end.", "name": "fig-attention-leaks"}, "image": {"alt": "Three lines over 32 bars. Before bar 20 the line of the net without a mask and that of the net with a mask but a squeeze of the whole window lie well above the lower end; the line of the net with a running squeeze lies at the lower end and jumps at bar 20."}}
fig, ax = plt.subplots(figsize=(7.2, 2.8))
colors = dict(zip(leaks, (DOWN, NEUTRAL, UP), strict=True))
for (name, gap), style in zip(
    leaks.items(), ("--", ":", "-"), strict=True
):
    ax.semilogy(gap.clip(1e-6), style, color=colors[name], label=name)
ax.axvline(19.5, color="0.7", lw=0.8)
ax.set(xlabel="bar", ylabel="mean change")
ax.legend()
plt.show()

# %%
early = {name: gap[:20].max() for name, gap in leaks.items()}

# %%
assert (
    early["no mask"] > 5e-3
    and early["mask, squeeze of all bars"] > 1e-4
)
assert early["no mask"] > 2 * early["mask, squeeze of all bars"]
assert early["mask, running squeeze"] < 1e-5
assert min(gap[20:].min() for gap in leaks.values()) > 0.1

# %% [markdown]
# The leak through the squeeze is smaller than that of a missing mask, which makes it worse, since
# nobody would see it in a curve of losses. Only the truncation test told. `SETransformer` uses a
# running squeeze wherever its attention is causal, and refuses to answer bar by bar where it is not:

# %%
try:
    SETransformer(5, causal=False).each_bar(X)
except ValueError as error:
    print("refused:", error)

# %% [markdown]
# For what follows a decision at the newest bar is enough, so no mask is needed there, and the squeeze
# may see the whole window.
#
# ## 4 Several heads of SE
#
# A head of attention is one way to look at bars. A **head of SE** is one way to look at channels: a
# squeeze and an excitation of its own, with a gate for each channel. `se.MultiHeadSE` has several.
# Their gates are fused by a weighted mean with learned weights, so what comes out are gates again. By
# hand, with two heads and two channels, where the first channel weighs both heads alike and the
# second takes three quarters of the first head:

# %%
gates = np.array([[0.9, 0.2], [0.5, 0.6]])  # a row a head
share = np.array([[0.5, 0.75], [0.5, 0.25]])  # columns sum to 1
fused = (share * gates).sum(0)
print(fused)
# %%
assert np.allclose(fused, [0.7, 0.3])

# %%
block = se.MultiHeadSE(2, heads=2)
block.fusion.data = torch.tensor(np.log(share)).float()
assert np.allclose(block.fusion_weights().detach(), share, atol=1e-6)
with torch.no_grad():
    each, one = block.head_gates(X[:, :2]), block.gates(X[:, :2])
# %%
assert torch.allclose((each * block.fusion_weights()).sum(1), one)

# %% [markdown]
# Does a second head add anything? A part of the answer needs no training. If both heads squeeze
# alike, both see the same vector $z$, and a weighted mean of two functions of $z$ is one function
# of $z$. One head with a wider hidden layer can come as close to that function as we like. Several
# heads can therefore do more than one in two cases only:
#
# - they **squeeze differently**, so that one head sees what another cannot see (unless one squeeze
#   can see both);
# - their views are **not fused**: `views(x)` gives the window once a head, and what follows may
#   *subtract* one view from another. A gate can make a channel small, but it cannot turn it upside
#   down; the difference of two views can.
#
# Three planted tasks put that to the test. Each has eight channels and two regimes at once. The
# first regime says which of the channels 0 and 1 informs, the second says which of 2 and 3. They
# differ in how the regimes show:
#
# | task | first regime | second regime |
# |---|---|---|
# | *alike* | mean of channel 4 | mean of channel 5 |
# | *apart* | mean of channel 4 | newest bar of channel 5 |
# | *sign* | mean of channel 4, and channel 0 counts as it is or upside down | newest bar of channel 5 |
#
# The target is the sum of the two newest bars that inform, so a net of gates and one linear read-out
# can solve the first two tasks, if its gates see the regimes.

# %%
tasks = {
    t: toys.draw_regimes(t, WINDOWS, seed=1) for t in toys.REGIME_TASKS
}
fresh = {
    t: toys.draw_regimes(t, WINDOWS, seed=2) for t in toys.REGIME_TASKS
}
x, y, on = tasks["apart"]
now = x[..., -1]
first = torch.where(on[:, 0], now[:, 0], now[:, 1])
second = torch.where(on[:, 1], now[:, 2], now[:, 3])
# %%
assert torch.allclose(first + second, y)


# %%
class Gated(nn.Module):
    """Gates, or views, of eight channels, then a linear read-out of the
    newest bar."""

    def __init__(self, block, views=False):
        super().__init__()
        self.block, self.views = block, views
        self.read = nn.Linear(
            8 * (len(block.blocks) if views else 1), 1
        )

    def forward(self, x):
        """Map windows (B, 8, T) to forecasts (B,)."""
        x = (
            self.block.views(x).flatten(1, 2)
            if self.views
            else self.block(x)
        )
        return self.read(x[..., -1])[:, 0]


# %%
def trained(net, task):
    """Train a net on a planted task."""
    plan = training.Plan(num_epochs=EPOCHS, lr=0.03, patience=EPOCHS)
    data = training.TensorSet(*tasks[task][:2])
    training.fit(net, data, plan=plan, loss=nn.MSELoss())
    return net


def explained(net, task):
    """Return the share of the variance that a net explains on fresh
    windows."""
    x, y, _ = fresh[task]
    with torch.no_grad():
        return float(1 - (net(x) - y).square().mean() / y.var())


# %%
def heads(*squeezes, views=False, seed=0):
    """Return a net with one head a squeeze; one head has the hidden
    units of two."""
    training.seed_everything(seed)
    count = len(squeezes)
    return Gated(
        se.MultiHeadSE(8, count, reduction=count, squeeze=squeezes),
        views,
    )


single = trained(heads("mean"), "apart")
alike = trained(heads("mean", "mean"), "apart")
mixed = trained(heads("mean", "last"), "apart")
reached = {
    "one head, mean": explained(single, "apart"),
    "two heads, mean and mean": explained(alike, "apart"),
    "two heads, mean and last": explained(mixed, "apart"),
}

# %% tolerance={"decimals": 0.04, "effect": 0.15}
for name, share in reached.items():
    print(f"{name:26} explains {share:.2f}")

# %%
alone, same, apart = reached.values()
assert abs(alone - same) < 0.05
assert apart > same + 0.15 and apart > 0.9

# %% [markdown]
# A second head that squeezes alike brings nothing, and one that squeezes differently brings nearly
# all that was missing. We can also see *what* each head learned. How much higher is the gate of the
# channel that informs in a regime than that of its rival, and does this follow the regime?

# %%
x, _, on = fresh["apart"]
with torch.no_grad():
    gates = mixed.block.head_gates(x).numpy()
# (windows, heads, regimes)
tilts = gates[:, :, [0, 2]] - gates[:, :, [1, 3]]
follows = np.array(
    [
        [np.corrcoef(tilts[:, h, k], on[:, k])[0, 1] for k in (0, 1)]
        for h in (0, 1)
    ]
)

# %% tolerance={"decimals": 0.25, "effect": 0.3}
for name, row in zip(("mean", "last"), follows, strict=True):
    print(
        f"head that squeezes by {name:4} first {row[0]:.1f}, second "
        f"{row[1]:.1f}"
    )

# %%
# the mean sees the first regime
assert follows[0, 0] > follows[0, 1] + 0.3
# the newest bar shows the second
assert follows[1, 1] > follows[1, 0] + 0.3

# %% [markdown]
# Each head follows above all the regime that it can see. That is the best case, and we planted it;
# section 6 asks whether real bars allow as much.
#
# ### How different are the heads?
#
# Heads that say the same thing are one head, paid for several times. So their
# {term}`diversity <diversity of heads>` should be measured. What a head says of a window is how far
# its gates lie from their mean over a batch. Two heads are alike if these deviations point the same
# way, which the cosine between them tells. Diversity is 1 less the mean size of that cosine over all
# pairs of heads (this measure is ours), and a head that says the *opposite* counts as alike, because
# it knows nothing else.

# %%
moves = (gates - gates.mean(0)).swapaxes(0, 1).reshape(2, -1)
cosine = (
    moves[0]
    @ moves[1]
    / np.linalg.norm(moves[0])
    / np.linalg.norm(moves[1])
)
with torch.no_grad():
    measured = float(mixed.block.diversity(x))
# %%
assert np.isclose(measured, 1 - abs(cosine), atol=1e-4)
assert measured > 0.4

# %% [markdown]
# ## 5 What several heads won where the truth is known
#
# A study repeats all of it with five seeds and fresh markets each, and adds whole transformers. All
# gated designs have about the same number of weights, and one head is tried with each of the five
# squeezes.

# %%
study = results.load("transformer_real")["results"]
planted = study["planted"]
for task, rows in planted.items():
    print(task)
    for name, row in rows.items():
        bounds = f"[{row['low']:.2f}, {row['high']:.2f}]"
        print(
            f"  {name:29} {row['weights']:5} weights  {row['r2']:.2f} "
            f"{bounds}"
        )

# %%
both, apart, sign = (planted[t] for t in toys.REGIME_TASKS)
two, same = "two heads, mean and last", "two heads, mean and mean"
# regimes alike: one head is enough
assert both["one head, mean"]["low"] > 0.95
singles = {
    name: row
    for name, row in apart.items()
    if name.startswith("one head")
}
memory = singles.pop("one head, ewm")
assert len(singles) == 4 and abs(memory["r2"] - apart[two]["r2"]) < 0.01
others = [row["high"] for row in (*singles.values(), apart[same])]

# %%
assert apart[two]["low"] > max(others) + 0.05
assert sign["their views"]["low"] > sign[two]["high"] + 0.03
# %%
weights = [both[name]["weights"] for name in ("one head, mean", two)]
assert abs(weights[0] / weights[1] - 1) < 0.15

# %% mystnb={"figure": {"caption": "Share of the variance explained on fresh windows where two regimes are planted at once; five seeds, 95 % intervals.", "name": "fig-attention-planted"}, "image": {"alt": "Three groups of bars, one a task. On the task alike all gated designs explain nearly everything, but for one head of the last bar, which explains two thirds. On the task apart only two heads with different squeezes, their views, and one head of the exponential squeeze do. On the task sign only the views do."}}
kinds = [
    f"one head, {name}" for name in ("mean", "last", "attention", "ewm")
]
kinds += [same, two, "their views"]
fig, axes = plt.subplots(1, 3, figsize=(8.4, 3.0), sharey=True)
for ax, (task, rows) in zip(axes, planted.items(), strict=True):
    r2 = [rows[name]["r2"] for name in kinds]
    error = [[rows[n]["r2"] - rows[n]["low"] for n in kinds],
             [rows[n]["high"] - rows[n]["r2"] for n in kinds]]
    colors = [NEUTRAL] * 5 + [UP, DOWN]
    ax.barh(range(7), r2, xerr=error, color=colors)
    ax.set(
        title=task, xlabel="explained", xlim=(0, 1.05), yticks=range(7)
    )
axes[0].set_yticks(range(7), kinds)
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# The argument of section 4 holds, with one surprise. Where both regimes show in means, one head is
# as good as two. Where they show in different bars, two heads that squeeze differently explain
# nearly everything, and two heads of the same squeeze do not. But **one** head does as well if its
# squeeze is the exponential one (`ewm`), because that squeeze can learn a memory for each channel
# by itself: a long one for the channel whose mean tells, a short one for the channel whose last bar
# tells. So several heads are one way to look differently, and not the only one. Where a sign must
# turn, fused gates fall short, and the views come closest.
#
# Whole transformers stand in the second task as well. Their own layers can do what gates do, so SE
# inside has less to add:

# %%
for name in (
    "transformer", "transformer, SE inside",
    "transformer, two heads of SE",
):
    row = apart[name]
    print(
        f"{name:29} {row['r2']:.2f} [{row['low']:.2f}, "
        f"{row['high']:.2f}]"
    )
    assert abs(row["r2"] - apart["transformer"]["r2"]) < 0.02
    assert row["weights"] > 10 * apart[two]["weights"]

# %% [markdown]
# The plain transformer explains nearly as much as the best gates, with many times the weights, and
# SE inside hardly changes that: attention and the rectifier in each layer already let one channel
# act on another. So what SE does here, a transformer can do by itself.
#
# ## 6 Three real markets
#
# Now to real bars: BTC, ETH and SOL, hourly, on Bybit. One net serves all three, with a window of
# 48 bars and eight channels (return, place of the close, range, volume, volatility of a day and of
# a week, and the hour of the day as sine and cosine). There are two targets, and the choice of the
# first matters. The **volatility** of the next day can be forecast, as is well known; where a net
# does not learn even that, the fault is the net's. The **return** of the next bar is what one would
# like to know.
#
# Two years are tested, 2023 and 2024. For each of them all ways are trained on everything up to half
# a year before it, and stop, or choose their size, on that half-year. (While the study was built,
# versions of it had printed losses of 2024, and the target and the size of the nets were changed
# afterwards, so 2024 is not untouched. No version had printed 2023.) Beside the transformers stand
# the mean, **repeating the last value**, ridge, boosted trees, `SETrader`, and **DLinear**
# {cite:p}`zeng2023`, a single linear layer on the trend and one on the rest, whose authors asked
# whether transformers are any good for series, and answered that their linear layers were better.
# `R2` is the share of the variance that a way explains beyond the mean.

# %%
real = study["real"]
assert study["setting"]["lookback"] == 48
for target, table in real.items():
    print(target)
    for name, row in table["rows"].items():
        words = [t["word"] for t in row["learned"] if t["word"]]
        half = np.ptp(row["r2_by_seed"]) / 2
        years = "{:6.3f} and {:6.3f}".format(
            *row["r2_by_year"].values()
        )
        print(f"  {name:14} R2 {row['r2']:6.3f} (by year {years},",
              f"seeds +-{half:.3f})", *words)

# %% mystnb={"figure": {"caption": "Share of the variance of 2023 and 2024 that each way explains beyond the training's mean. A dot a seed.", "name": "fig-attention-real"}, "image": {"alt": "Two panels of bars. For volatility ridge, trees, SETrader and the transformers explain between 0.55 and 0.6, DLinear a little less, and repeating about 0.4. For the return all bars are about zero, and that of DLinear is below it."}}
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.2), sharey=True)
for ax, (target, table) in zip(axes, real.items(), strict=True):
    names = [n for n in table["rows"] if n not in ("mean", "repeat")]
    for at, name in enumerate(names):
        row = table["rows"][name]
        color = UP if "SE" in name and name != "SETrader" else NEUTRAL
        ax.barh(at, row["r2"], color=color, alpha=0.6)
        seeds = row["r2_by_seed"]
        ax.plot(seeds, [at] * len(seeds), ".", color="black")
    if target == "volatility":
        repeat = table["rows"]["repeat"]["r2"]
        ax.axvline(repeat, color=DOWN, ls="--", label="repeat")
        ax.legend(loc="lower right")
    ax.axvline(0, color="0.5", lw=0.8)
    ax.set(title=target, xlabel="explained", yticks=range(len(names)))
axes[0].set_yticks(range(len(names)), names)
axes[0].invert_yaxis()
plt.show()

# %%
wild, calm = (real[t]["rows"] for t in ("volatility", "return"))
smart = (
    "ridge", "trees", "SETrader", "transformer", "SE inside",
    "SE, two heads",
)
for year in study["setting"]["years"]:
    r2 = {name: row["r2_by_year"][year] for name, row in wild.items()}
    assert min(r2[name] for name in smart) > r2["repeat"] + 0.1
    assert max(r2, key=r2.get) == "SETrader"
nets = (
    "DLinear", "SETrader", "transformer", "SE inside", "SE, two heads",
)

# %%
assert all(wild[n]["judged"]["word"] == "learned" for n in nets)
assert all(calm[n]["judged"]["word"] == "not learned" for n in nets)
assert max(row["r2"] for row in calm.values()) <= 0

# %%
told = {n: [t["word"] for t in calm[n]["learned"]] for n in nets}
print("return:", told)
assert sum(words[0] == "learned" for words in told.values()) == 4

# %% [markdown]
# The nets learned the volatility. Ridge, trees, `SETrader` and the transformers explain clearly more
# than repeating the last value, in both years, on bars that none of them had seen. The transformers,
# with SE or without, are not the best among them, though: `SETrader`, the small net of
# {ref}`ch-se-trader`, explains most, and ridge with three numbers a channel does about as well as
# they do. DLinear explains less. That is no verdict on the paper, since ours forecasts one number
# from all channels at once, but it does show that being linear is no guarantee.
#
# Of the return nobody explains anything. For 2023 four nets passed our rule on validation, and in the
# tested year they were nevertheless worse than a constant, so what they had found did not last. For
# 2024 none passed. What counts as learned has to be learned for every year, and by that rule all five
# did **not learn** the return. Repeating the last return nearly doubles the loss, because the next
# return has little to do with the last, and the error then has two returns in it.
#
# ### Is the difference more than luck?
#
# Two forecasts of the same bars are compared by their losses. The {term}`Diebold–Mariano test`
# {cite:p}`diebold1995` takes the difference of the two losses at each bar, its mean, and a standard
# error of that mean. With a pencil: eight differences, 1 and 0 in turn, have the mean 1/2 and the
# variance 1/4. If they were independent, the variance of the mean would be 1/4 over 8, and the
# correction for few forecasts {cite:p}`harvey1997` makes that 8/7 times as much.

# %%
first, second = np.array([2.0, 1] * 4), np.ones(8)
told = diebold_mariano(first, second, lags=0)
# Student's t with 7 degrees of freedom
half = np.sqrt(0.25 / 8 * 8 / 7) * 2.365
print(told)
# %%
assert np.isclose(told.estimate, 0.5)
assert np.isclose(told.high - told.estimate, half, rtol=1e-3)

# %% [markdown]
# Losses are not independent. Forecasts of the next 24 hours that are made eight hours apart share
# most of what they forecast, so their errors resemble each other, and the standard error has to count
# that {cite:p}`newey1987`. An exercise shows what happens to those who forget it.
#
# The test takes the two forecasts as given, and asks what other *bars* would have said. But a net is
# also a matter of its *seed*, and another five seeds would have given other nets. So the study adds a
# second variance, that of the mean difference over seeds, to the test's own. Here are the differences
# on all three markets together, hour by hour, as a share of the second way's loss, with p-values that
# are corrected for all comparisons.

# %%
gaps = {}
for target, table in real.items():
    print(target)
    for g in table["gaps"]:
        if g["coin"] != "all":
            continue
        base = g["estimate"] / g["share"]
        g["bounds"] = g["low"] / base, g["high"] / base
        gaps[target, g["first"], g["second"]] = g
        words = "{:6.1%} [{:6.1%}, {:6.1%}]".format(
            g["share"], *g["bounds"]
        )
        pair = f"{g['first']} less {g['second']}"
        print(f"  {pair:32} {words}  p {g['p_corrected']:.2f}")

# %% mystnb={"figure": {"caption": "Loss of the transformer with SE inside less that of each other way, as a share of the other's loss, with 95 % intervals. Left of zero the transformer with SE is better.", "name": "fig-attention-gaps"}, "image": {"alt": "Two panels of intervals. For volatility those against repeating and the mean lie left of zero, that against DLinear ends just left of it, that against SETrader lies right of it, and those against ridge, trees and the plain transformer hold zero. For the return the interval against repeating lies far left, that against DLinear left, and all others are close to zero."}}
others = ["repeat", "mean", "DLinear", "SETrader", "ridge", "trees"]
others += ["transformer"]
fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.0), sharey=True)
for ax, target in zip(axes, real, strict=True):
    for at, name in enumerate(others):
        g = gaps[target, "SE inside", name]
        ax.plot(g["bounds"], [at, at], color=UP)
        ax.plot(g["share"], at, "o", color=UP, ms=4)
    ax.axvline(0, color="0.5", lw=0.8)
    ax.set(title=target, xlabel="difference of losses")
axes[0].set_yticks(range(len(others)), others)
axes[0].invert_yaxis()
axes[1].set_xscale("symlog", linthresh=0.02)
plt.show()


# %%
def corrected(target, first, second):
    """Return share and corrected p-value of a difference of losses."""
    return gaps[target, first, second]["share"], gaps[
        target, first, second
    ]["p_corrected"]


for first in ("SE inside", "SE, two heads"):
    assert corrected("volatility", first, "transformer")[1] > 0.5
for other in ("ridge", "trees", "DLinear", "SETrader"):
    assert corrected("volatility", "SE inside", other)[1] > 0.1
share, p = corrected("volatility", "SE inside", "repeat")

# %%
assert share < -0.2 and p < 0.001

# %%
pair = gaps["volatility", "SE inside", "transformer"]
print(
    f"error by bars {pair['of_bars']:.4f}, by seeds "
    f"{pair['of_seeds']:.4f}"
)
print(
    f"bars alone: {pair['estimate'] / pair['of_bars']:.1f} errors from "
    "zero"
)
print("differences of the five seeds:", end=" ")
each = np.subtract(
    wild["SE inside"]["by_seed"], wild["transformer"]["by_seed"]
)
print(*(f"{d:+.3f}" for d in each))

# %%
assert pair["of_seeds"] > 4 * pair["of_bars"]
assert pair["estimate"] / pair["of_bars"] > 2 and min(each) < 0 < max(
    each
)
assert pair["bounds"][0] > -0.03

# %% [markdown]
# The answer to the first question of this chapter stands in the left panel. SE inside the
# transformer cannot be told from the same transformer without it, and two heads of SE cannot be
# told from one. The last cell shows why seeds have to be counted. For these five pairs of nets the
# test by itself would be sure, by more than two standard errors, that SE does harm. Yet the five
# differences do not even agree on the sign, and other seeds would have given other answers. The
# interval that counts both ends at three per cent of the loss on the side of a gain, so a larger
# gain is unlikely for these bars. SE inside beats repeating the last value. After the correction it
# cannot be told from ridge, trees, DLinear or `SETrader` either; of these ridge and `SETrader` had
# the smaller loss.
#
# For the return there is nothing to compare, since nothing was learned. But could the net have found
# something there? The study planted effects of known size in redrawn histories of the same bars: the
# volume of a bar says which way the next one leans. The size is the correlation of that signal with
# the next return.

# %%
seen = study["seen"]
for size in sorted(seen["runs"], key=float):
    print(
        f"planted {size:>4}: found {seen['hits'][size]} of "
        f"{seen['runs'][size]}"
    )

# %%
# not even the largest
assert seen["size"] is None and "0.2" in seen["runs"]
assert seen["hits"]["0.2"] == 0

# %% [markdown]
# <!-- number: 0.2 from studies/transformer_real.py -->
# In the one try it did not: even a correlation of 0.2, an enormous effect, was missed, and since
# two hits of two were asked for, the search ended there. One miss shows that the net does not find
# such an effect surely, and not that it never does. ({ref}`ch-sizing-by-reinforcement` finds an
# effect of this size more often, by another measure, the growth of an account.) Nothing shows,
# then, that these nets, trained on some thousand windows, would find an effect, and what they do
# not find in returns says nothing about returns. The word for the second target is **not learned**,
# and nothing may be concluded from it, neither for SE nor against it.

# %% [markdown]
# ## What goes wrong
#
# Here is a way to build four heads that is seen in real code: draw *one* head, and copy it. It
# saves a few lines, and torch itself copies the layer that it is given when it stacks an encoder.
# Let us train such a block on the task *alike*, which one head solves, and look at nothing but what
# it explains.


# %%
def penalised(net, task, weight):
    """Train as `trained` does, with the penalty against collapse in the
    loss."""
    x, y, _ = tasks[task]
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=0.03, weight_decay=0
    )
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            loss = (net(x[rows]) - y[rows]).square().mean()
            (loss + weight * net.block.penalty(x[rows])).backward()
            optimizer.step()
    return net


# %%
def copies(seed=0):
    """Return four heads that are copies of the first."""
    net = heads(*["mean"] * 4, seed=seed)
    for head in net.block.blocks[1:]:
        head.load_state_dict(
            copy.deepcopy(net.block.blocks[0].state_dict())
        )
    return net


collapsed = {
    "copies": trained(copies(), "alike"),
    "copies, with penalty": penalised(copies(), "alike", 0.3),
    "drawn by themselves": trained(heads(*["mean"] * 4), "alike"),
    "the same, with penalty": penalised(
        heads(*["mean"] * 4), "alike", 0.3
    ),
}

# %% tolerance={"decimals": 0.25, "effect": 0.3}
diverse = {}
for name, net in collapsed.items():
    with torch.no_grad():
        diverse[name] = float(net.block.diversity(fresh["alike"][0]))
    share = explained(net, "alike")
    print(
        f"{name:23} explains {share:.1f}, diversity {diverse[name]:.1f}"
    )

# %%
assert min(explained(net, "alike") for net in collapsed.values()) > 0.9
assert (
    diverse["copies"] < 0.01 and diverse["copies, with penalty"] < 0.01
)
assert diverse["drawn by themselves"] > 0.3
assert diverse["the same, with penalty"] > 0.8

# %% mystnb={"figure": {"caption": "Gate of channel 0 by two heads, in windows where it informs and where it does not: heads that are copies, and heads drawn by themselves under a penalty.", "name": "fig-attention-collapse"}, "image": {"alt": "Two scatter plots of the gate by one head against the gate by another. For copies all points lie on the diagonal. For heads drawn by themselves they lie off the diagonal, in two small clouds, one near 0 and one near 1."}}
fig, axes = plt.subplots(
    1, 2, figsize=(6.8, 3.0), sharex=True, sharey=True
)
x, _, on = fresh["alike"]
shown = ("copies", "the same, with penalty")
for ax, name in zip(axes, shown, strict=True):
    with torch.no_grad():
        gates = collapsed[name].block.head_gates(x[:400])[:, :2, 0]
    for state, color, marker in ((True, UP, "o"), (False, DOWN, "x")):
        rows = gates[on[:400, 0] == state]
        label = "informs" if state else "does not"
        ax.scatter(
            *rows.T, s=8, color=color, marker=marker, label=label
        )
    ax.set(title=name, xlabel="gate by the first head")
axes[0].set_ylabel("gate by the second head")
axes[0].legend()
plt.show()

# %%
with torch.no_grad():
    pairs = collapsed["copies"].block.head_gates(x)[:, :2, 0]
    apart_pairs = collapsed["the same, with penalty"].block.head_gates(
        x
    )[:, :2, 0]

# %%
assert (pairs[:, 0] - pairs[:, 1]).abs().max() < 1e-4
assert (apart_pairs[:, 0] - apart_pairs[:, 1]).abs().mean() > 0.02

# %% [markdown]
# What is explained looks perfect in all four cases, and so the loss tells nobody that four heads have
# become one. Copies start alike, get the same gradient, take the same step, and stay alike for ever.
# The penalty, which is the mean squared cosine, does **not** help them: where two heads are exactly
# alike, their cosine is at its largest, and the slope at a summit is zero. Heads that were drawn by
# themselves differ from the start, and only then does the penalty have something to push. So draw
# each head anew, give heads different squeezes where you can, and print the diversity beside the
# loss.
#
# A second trap is near. The weights of attention and the gates of a head are easily read as
# *reasons*. They say what the net multiplied, and {ref}`ch-attention-by-regime` showed how little of
# the reasons that has to be {cite:p}`jain2019`. Our heads could be read because we had planted what
# they should find.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Attention is pictured as each bar asking the others what they know, and SE as a desk on
# which whole channels are turned up or down. Both are pictures of weighted sums, and neither says why
# a weight is large.
#
# *Proved.* A causal mask alone does not keep a net causal, because a squeeze over the whole window
# passes it by. With gates of 1 the layer is the plain encoder's. Heads that begin as copies get the
# same gradient and stay copies.
#
# *Measured here.* On planted markets heads that squeeze alike added nothing, and heads that squeeze
# differently saw more, but no more than one head with a memory for each channel. On real bars the
# nets learned the volatility, where SE inside the transformer could not be told from none, nor the
# transformer from ridge. The return of the next hour was not learned.
#
# *Open.* Longer windows, larger nets and more data were not tried. What attention weights or gates
# say about reasons was not asked.
# ```
#
# ## Summary
#
# - Attention mixes bars by weights that the bars themselves set: score, softmax, mixture.
# - A causal mask hides later bars; the newest bar's answer does not need it.
# - SE that squeezes the whole window leaks through any mask, so in a net that answers at every bar
#   its squeeze has to run.
# - SE stands on the second branch of an encoder's layer; with gates of 1 the layer is torch's.
# - Several heads of SE that squeeze alike add nothing; heads that squeeze differently see more than
#   one head of most squeezes, one head that learns a memory for each channel sees as much, and views
#   that are not fused can turn signs.
# - The volatility of the next day can be learned; SE inside a transformer cannot be told from none
#   there, nor a transformer from ridge.
# - A test of two forecasts asks about other bars. Five nets are five draws, and an interval that
#   forgets it can be far too narrow.
# - Nobody learned the return of the next hour, and an effect planted there was missed in the one
#   try that was made, so no comparison there can be relied on.
# - A test of two forecasts has to know that losses of overlapping forecasts resemble each other;
#   else it finds differences that are not there.
# - Heads that are copies stay copies, and no loss shows it: measure their diversity.
#
# ## Exercises
#
# ```{exercise} Nobody asks ★
# :label: ex-attention-zero
# Show that attention with a query of zero is the mean squeeze, whatever the keys are. What does it
# become if the query grows without bound?
# ```
#
# ```{solution-start} ex-attention-zero
# :class: dropdown
# ```
# All scores are 0, their exponentials 1, and the weights $1/T$. With a growing query the largest
# score outgrows all others, and the whole weight falls on the bar whose key fits best.


# %%
def answer_of(query):
    """Return what attention says for a query, with the keys and values
    of section 1."""
    e = np.exp(query * keys - (query * keys).max())
    return e / e.sum() @ values


# %%
assert np.isclose(answer_of(0), values.mean())
assert np.isclose(answer_of(100), values[3])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A head for each regime ★★
# :label: ex-attention-third
# Add a third head, which squeezes by the maximum, to the two heads of section 4, and train it on the
# task *apart*. What does it add, and what does its diversity say?
# ```
#
# ```{solution-start} ex-attention-third
# :class: dropdown
# ```

# %% tolerance={"decimals": 0.04, "effect": 0.15}
three = trained(heads("mean", "last", "max"), "apart")
print(f"explains {explained(three, 'apart'):.2f}")
# %%
assert (
    abs(explained(three, "apart") - reached["two heads, mean and last"])
    < 0.05
)

# %% [markdown]
# It adds nothing, since both regimes are seen already. Its gates differ from those of the other two,
# because nothing in the task tells them what to be. A large diversity therefore says that heads
# differ, and not that they are useful.
#
# ```{solution-end}
# ```
#
# ```{exercise} Equal forecasts ★★★
# :label: ex-attention-size
# Draw two series of losses of forecasts twelve bars ahead that are equally good: squares of moving
# sums of 12 normal numbers. Test them 200 times at 5 %, once with `lags=0` and once with
# `horizon=12`. How often does each test find a difference?
# ```
#
# ```{solution-start} ex-attention-size
# :class: dropdown
# ```

# %%
rng, found = np.random.default_rng(0), np.zeros(2, int)
for _ in range(200):
    a, b = (
        np.convolve(rng.normal(size=611), np.ones(12), "valid") ** 2
        for _ in "ab"
    )
    found += [diebold_mariano(a, b, lags=0).p < 0.05,
              diebold_mariano(a, b, horizon=12).p < 0.05]
print("a difference was found in", found, "of 200")

# %%
assert len(a) == 600
# %%
assert found[0] > 80 and found[1] < 30

# %% [markdown]
# Without lags the test takes 600 losses that resemble their neighbours for 600 facts, and finds a
# difference that is not there in about half of all tries. With lags it errs about as often as it
# promised.
#
# ```{solution-end}
# ```
#
# ```{exercise} A market of your own ★★★
# :label: ex-attention-own
# Take hourly bars of your own, forecast the volatility of the next day by repeating the last one, by
# ridge and by `SETransformer`, and compare them on a year that none has seen. Which difference has an
# interval without zero?
# ```
#
# ```{solution} ex-attention-own
# :class: dropdown
# Use `decision="value"`, forecast the *change* against the last value, stop on half a year before the
# test, and train five seeds. Compare the losses by `diebold_mariano` with `horizon=24`, if you
# forecast at every hour. If the interval of ridge less transformer lies below zero, ridge is what you
# should use; if it holds zero, use ridge too, because it is simpler.
# ```
#
# ## Further reading
#
# Attention and the encoder {cite:p}`vaswani2017`; the block {cite:p}`hu2018`; linear layers that beat
# transformers on series {cite:p}`zeng2023`; the test {cite:p}`diebold1995`, its correction for few
# forecasts {cite:p}`harvey1997` and the error of a mean of losses that resemble their neighbours
# {cite:p}`newey1987`; why weights of attention are no explanation {cite:p}`jain2019`.
