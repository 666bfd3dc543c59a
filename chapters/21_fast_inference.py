# %% [markdown]
# (ch-fast-inference)=
# # Fast inference
#
# **Where do the milliseconds go, and which of them can we have back without changing a decision?**
#
# ```{admonition} What you will do
# :class: tip
# - count the page faults of fresh memory, and see what they cost a net
# - fold batch norms into convolutions by hand
# - load a net from a file that refuses to be misread, and run it on another engine
# - round a net to eight bits, and put a gate before it
# - read one table of quantiles, bytes and decisions
# ```
#
# *You need* {ref}`ch-mbconv` and {ref}`ch-se-trader`. *Runs* in under 60 s on two cores.

# %%
import mmap
import resource

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from setrade import candles, inference, results
from setrade.inference import Predictor
from setrade.plots import use_style

use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
N_PICTURES = 64  # real windows that engines are compared on here; the study takes more
MEGABYTES = 40  # of the buffer whose page faults are counted

# %% [markdown]
# ## 1 The memory you did not have yesterday
#
# A net spends its time multiplying. So we think. But each layer also wants a place for its
# result. Memory that a program asks for is a promise: the system hands out a page of 4 kB only
# when it is first touched, and clears it before. That is a **page fault**. It costs a trip into
# the kernel.
#
# Large requests are promised anew each time and given back after use. A net that is called
# again pays again. The system counts the faults of a process, so we can count them too. We
# write a buffer twice: fresh, and kept.


# %%
def faults_of(work):
    """Return how many pages were touched for the first time during ``work``."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


# %%
size = MEGABYTES * 2**20
pages, zeros = size // mmap.PAGESIZE, bytes(size)
buffer = mmap.mmap(-1, size)  # what an allocator does for a large request
fresh = faults_of(lambda: buffer.write(zeros))
buffer.seek(0)
kept = faults_of(lambda: buffer.write(zeros))
print(f"{pages:,} pages; a fault a page when fresh: {fresh >= pages}")
print(f"under a hundred when kept: {kept < 100}")
assert fresh >= pages and kept < 100

# %% [markdown]
# Two cures. The first is to keep buffers and write into them: the `out=` of our image encoders.
# Inside a net we cannot do that. The second tells the allocator never to give large blocks
# back. It takes four lines in the environment, and the Makefile of this book sets them. Look
# for `MALLOC_` in it.
#
# How much is that for a whole net? `make study STUDY=latency` timed every engine of this
# chapter in a process of its own, with and without the four lines. It stored `latency.json`.

# %%
stored = results.load("latency")
lines = stored["results"]["lines"]


def p50(net, engine, batch, memory="kept"):
    """Return the stored median milliseconds of one call."""
    return lines[f"{net}/{engine}/{memory}"]["latency"][str(batch)]["p50"]


# %%
rows = [("b0_224", 1), ("b0_224", 32), ("b0_64", 32), ("micro_64", 32)]
memory = pd.DataFrame(
    [[p50(net, "eager", b, m) for m in ("fresh", "kept")] for net, b in rows],
    index=[f"{net}, batch {b}" for net, b in rows], columns=["fresh ms", "kept ms"],
)
memory["ratio"] = memory["fresh ms"] / memory["kept ms"]
memory.round(2)

# %% [markdown]
# The ratio is a price of the allocator. It belongs to no architecture, and it differs from
# machine to machine: the file names the processor and the load it ran under. Whoever compares
# two engines must say which of the two columns the slow one stands in. We compare in both.
#
# ## 2 Batch norm is arithmetic that is already done
#
# After training, a batch norm is a straight line for each channel. Its mean $\mu$ and variance
# $\sigma^2$ are constants. A convolution before it is linear as well, and two lines in a row
# are one line.
#
# $$\gamma\,\frac{(w * x) - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
#   = \underbrace{\frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\,w}_{w'} * x
#   + \underbrace{\beta - \frac{\gamma\,\mu}{\sqrt{\sigma^2 + \epsilon}}}_{b'}$$
#
# Check it with a pencil: $w = 2$, $\mu = 1$, $\sigma^2 + \epsilon = 4$, $\gamma = 4$,
# $\beta = 5$ gives $w' = 4$ and $b' = 3$. For $x = 1$ both sides say 7.


# %%
@torch.no_grad()
def fold_by_hand(conv, norm):
    """Return the weight and bias that do the work of both layers."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = conv.weight * scale[:, None, None, None]
    return weight, norm.bias - norm.running_mean * scale


# %%
net, spec = inference.load("efficientnet_micro")
weight, bias = fold_by_hand(net.stem[0], net.stem[1])
folded = inference.fold_batch_norms(net)
assert torch.allclose(weight, folded.stem[0].weight, atol=1e-6)
assert torch.allclose(bias, folded.stem[0].bias, atol=1e-6)
count = sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
print(f"{count} batch norms folded away")

# %% [markdown]
# The whole net must say the same before and after, on real charts.

# %%
bars = candles.sample()
predictor = Predictor.load("efficientnet_micro", "cpu")
charts, times = predictor.inputs(bars, N_PICTURES)
x = inference.to_tensor(charts, spec)
with torch.inference_mode():
    plain, short = net(x), folded(x)
assert torch.allclose(plain, short, atol=1e-4)
print("largest difference below 1e-4:", bool((plain - short).abs().max() < 1e-4))

# %% [markdown]
# ## 3 A file that refuses to be misread
#
# A file of weights holds numbers with names. It does not say which net they belong to, how its
# input was scaled, or whether output 0 means sell or buy. Our files do. They are safetensors,
# a format that can hold no code, and their header carries a `Spec`: architecture and
# arguments, preprocessing, order of the classes, input shape, a version, and a hash over all.
#
# Two small nets come with this book. `make study STUDY=checkpoints` trained them on the sample
# in minutes, and `checkpoints.json` holds their cards.

# %%
cards = results.load("checkpoints")["results"]
table = {
    name: {
        "kB": round(card["bytes"] / 1e3), "parameters": card["parameters"],
        "accuracy": card["test"]["accuracy"], "low": card["test"]["interval"][0],
        "high": card["test"]["interval"][1],
        "most frequent": card["test"]["most_frequent_class"],
    }
    for name, card in cards.items()
}
pd.DataFrame(table).T.round(3)

# %% [markdown]
# Both intervals hold the score of a constant answer, or lie near it. These nets are here to be
# run, not to be traded. Their cards say so.

# %%
for card in cards.values():
    assert card["test"]["interval"][0] < card["test"]["most_frequent_class"]
    assert any("No trading" in text for text in card["not_for"])

# %% [markdown]
# A `Predictor` goes from a file to signals. It knows which bars and channels its net wants, so
# that nothing has to be remembered in between.

# %%
trader = Predictor.load("se_trader", "cpu")
windows, ends = trader.inputs(bars, 3)
signals = trader.predict(windows, ends)
gates = signals[-1].attention
print(windows.shape, f"{signals[-1].time:%Y-%m-%d %H:%M}", len(gates), "gates by name")
assert list(gates) == list(trader.spec.preprocessing["columns"])

# %% [markdown]
# ## 4 Another engine, the same decisions
#
# PyTorch runs a net one layer at a time, from Python. Three things make it faster.
#
# - **Batching**: one call for many pictures pays the fixed cost of a call once.
# - **Layout**: `channels_last` stores a picture pixel by pixel, as depthwise kernels like it.
# - **Another engine**: a graph of the whole net, exported to ONNX and planned ahead. It fuses
#   layers, reuses one arena of memory (section 1 again), and leaves Python out.
#
# `torch.compile` writes and compiles code for the net on this machine. It needs a compiler and
# a minute. On a GPU there is more to win: bfloat16 halves the traffic (`runtime="bf16"`), and
# TensorRT stands behind ONNX Runtime as a provider that is asked first where it exists.
#
# An engine has to earn trust before speed. We ask for equal answers on real charts.

# %%
exact, _ = predictor.answers(charts)
for runtime in ("channels_last", "folded", "onnx"):
    other = Predictor.load("efficientnet_micro", "cpu", runtime=runtime)
    p, _ = other.answers(charts)
    assert np.abs(p - exact).max() < 1e-5
    alike = inference.agreement(p, exact)
    print(f"{runtime:14} decisions alike: {alike:.0%}")

# %% [markdown]
# The study asked the same on more windows, and for the other nets too.

# %%
agreed = {k: v for k, v in lines.items() if "agreement" in v and "/kept" in k}
columns = {k: [v["windows"], v["agreement"]] for k, v in agreed.items()}
shown = pd.DataFrame(columns, index=["windows", "alike"]).T
shown.index = shown.index.str.removesuffix("/kept")
assert (shown.loc[shown.index.str.endswith("onnx"), "alike"] == 1).all()
shown.round(4)

# %% mystnb={"figure": {"caption": "Stored speed of ONNX Runtime against eager PyTorch, by net and batch, with memory kept and with memory fresh. The line at 1 is eager.", "name": "fig-inference-onnx"}, "image": {"alt": "Horizontal bars for each net and batch size show how many times faster ONNX Runtime answers than eager PyTorch, once with kept and once with fresh memory; every bar ends to the right of zero on a logarithmic axis."}}
cases = [(n, b) for n in ("b0_224", "b0_64", "micro_64") for b in (1, 32)]
cases += [("se_trader", 1), ("se_trader", 256)]
fig, ax = plt.subplots()
for shift, kind in ((-0.2, "kept"), (0.2, "fresh")):
    gain = [p50(n, "eager", b, kind) / p50(n, "onnx", b, kind) for n, b in cases]
    ax.barh(np.arange(len(cases)) + shift, gain, 0.38, label=f"memory {kind}")
ax.set_yticks(range(len(cases)), [f"{n}, batch {b}" for n, b in cases])
ax.axvline(1, ls=":", color="black")
ax.set(xscale="log", xlabel="times faster than eager PyTorch")
ax.invert_yaxis()
ax.legend()
plt.show()

# %%
assert all(p50(n, k, b) > 0 for n, b in cases for k in ("eager", "onnx"))

# %% [markdown]
# ## 5 Eight bits
#
# A float has 32 bits. Eight bits are a quarter of the bytes, and integer units are fast. The
# price is a grid: a number $v$ becomes a whole number of steps.
#
# $$q = \mathrm{round}(v / s),\qquad \hat v = s\,q,\qquad s = \frac{\max |v|}{127}$$
#
# No number moves by more than half a step. But the step is set by the **largest** number that
# shares it. One channel with large weights makes the grid coarse for all.


# %%
def to_steps(w, step):
    """Return weights rounded to whole steps of int8."""
    return (w / step).round().clamp(-127, 127) * step


# %%
small = torch.tensor([[0.01, -0.02], [1.0, -1.27]])  # two channels
together = to_steps(small, small.abs().max() / 127)
apart = to_steps(small, small.abs().amax(1, keepdim=True) / 127)
print("one step for all:", together[0].tolist())
assert torch.allclose(together, small, atol=0.005 + 1e-6)
assert (apart[0] - small[0]).abs().max() < 1e-4

# %% [markdown]
# Now the depthwise layers of our net, after folding. Each of their channels sees one picture
# alone and has had its own batch norm melted in. So their sizes differ.

# %%
layers = {
    f"block {i}": (block.depthwise[0].weight, block.project[0].weight)
    for i, block in enumerate(folded.blocks)
}


def spread_of(weight):
    """Return how many times larger the largest channel is than the median one."""
    top = weight.detach().flatten(1).abs().amax(1)
    return float(top.max() / top.median())


spread = pd.DataFrame(
    {k: map(spread_of, pair) for k, pair in layers.items()}, ["depthwise", "project"]
).T

# %% mystnb={"figure": {"caption": "How many times larger the largest channel of a layer is than its median channel, after folding.", "name": "fig-inference-ranges"}, "image": {"alt": "For each block of the micro net two bars show the largest channel's weight over the median channel's, for the depthwise and the projecting layer; the depthwise bars are the longer ones in most blocks."}}
fig, ax = plt.subplots()
spread.plot.bar(ax=ax, rot=0)
ax.set(ylabel="largest / median channel", xlabel="")
plt.show()

# %%
assert (spread >= 1).all().all()


# %%
def error_of(weight, per_channel):
    """Return the rounding error over the size of a median channel."""
    top = weight.abs().flatten(1).amax(1)
    step = (top if per_channel else top.max()) / 127
    rounded = to_steps(weight, step.view(-1, *[1] * (weight.ndim - 1)))
    return float((rounded - weight).abs().mean() / weight.abs().mean())


errors = [[error_of(w.detach(), c) for w, _ in layers.values()] for c in (False, True)]
print(f"depthwise, mean error: one step a layer {np.mean(errors[0]):.1%}, "
      f"one a channel {np.mean(errors[1]):.1%}")
assert np.mean(errors[1]) < np.mean(errors[0])

# %% [markdown]
# Weights are half of it. **Activations** are rounded too, with ranges read off calibration
# pictures, which must be training pictures. There EfficientNet is hard on eight bits for three
# reasons.
#
# - *Swish* has a long tail on the right and a shallow dip to $-0.28$ on the left. A grid that
#   reaches the tail has few steps left for the dip.
# - *Gates* multiply whole channels. A rounding error in one gate is an error in every pixel.
# - *Depthwise* channels have ranges of their own, but activations get one step a layer.
#
# What may mend it: a step for each channel of the weights, seven bits where the processor's
# sums of two products would overflow (`reduce_range`), and leaving layers out. Each recipe is
# one more thing to measure.

# %%
tried = {net: lines[f"{net}/int8/kept"] for net in ("micro_64", "b0_64")}
recipes = pd.concat({net: pd.DataFrame(found).T for net, found in tried.items()})
exact_rows = recipes.xs("float32", level=1)
recipes = recipes.drop(index="float32", level=1)
shown = recipes[["agreement", "logit_error", "accepted", "bytes", "accuracy"]]
shown.rename(columns={"logit_error": "logit error"})

# %% [markdown]
# `agreement` is the share of decisions that are those of float32, and `logit error` the largest
# change of an output over the range of all outputs. The gate asks for 98 %. What fails it is
# refused by an error, with the reason. Nobody has to remember to look.

# %%
gate = recipes["agreement"].astype(float) >= 0.98
assert (gate | ~recipes["accepted"].astype(bool)).all()
refused = [row["reason"] for f in tried.values() for row in f.values()
           if not row.get("accepted", True)]
print(len(refused), "of", len(recipes), "refused")
print(refused[0] if refused else "none refused")

# %% [markdown]
# A published trial is a warning: an ImageNet net of the same family, rounded after training,
# kept only two thirds to three quarters of its top answers. Three classes are easier than a
# thousand. So measure your own net, on your own pictures. If it fails, training with the
# rounding inside {cite:p}`jacob2018` is the cure that this chapter does not take.
#
# We repeat one recipe here, on the first training pictures.

# %%
first, _ = predictor.inputs(bars.iloc[:112], None)  # the oldest charts: training data
model = inference.to_onnx(net, x[:1])
calibration = inference.to_tensor(first, spec)
eight = inference.quantize(model, calibration, "reduce_range")
rounded = inference.OnnxNet(eight)(x)[0]
off = float((rounded - plain).abs().max() / np.ptp(plain.numpy()))
print(f"bytes kept: {len(eight) / len(model):.0%}")
assert 0.3 < len(eight) / len(model) < 0.8 and off > 0

# %% [markdown]
# ## 6 Gates that are kept
#
# The squeeze looks at a whole window, and the next window shares all bars but one. So gates
# move slowly, and a live net can keep them for a few bars. `CachedTrader` does.

# %%
many, _ = trader.inputs(bars, 400)
stream = inference.to_tensor(many, trader.spec)
with torch.inference_mode():
    asked = trader.net(stream).softmax(1)
    moved = {}
    for every in (1, 4, 16):
        cached = inference.CachedTrader(trader.net, every)
        said = torch.cat([cached(stream[i : i + 1], i) for i in range(400)]).softmax(1)
        moved[every] = float((said - asked).abs().max())
assert moved[1] < 1e-6 and moved[1] < moved[4] <= moved[16] * 1.5

# %%
saving = p50("se_trader", "eager", 1) / p50("se_trader", "cached", 1)
for every, most in moved.items():
    print(f"kept for {every:2} bars: probabilities move by at most {most:.3f}")
print(f"most that can be saved: {1 - 1 / saving:.0%} of a call")

# %% [markdown]
# The saving is a part of one small call. An engine that fuses the whole net saves more and
# changes nothing. Kept gates pay where an engine cannot be had.
#
# ## 7 The table
#
# Quantiles, because the mean hides what hurts: the slow call misses the bar. `p99` is the call
# in a hundred. Batch 1 is the live case.

# %%
def row(key, batch):
    """Return one line of the table."""
    line, took = lines[key], lines[key]["latency"][str(batch)]
    gain = line["times_faster"][str(batch)]
    return [took["p50"], took["p95"], took["p99"], took["throughput"], gain,
            line["bytes"] / 1e6, line.get("agreement", np.nan)]


# %%
names = ["p50 ms", "p95 ms", "p99 ms", "a second", "x eager", "MB", "alike"]
engines = ("eager", "channels_last", "folded", "onnx", "cached")
rows = {(n, b, e): row(f"{n}/{e}/kept", b) for n, b in cases for e in engines
        if f"{n}/{e}/kept" in lines}
big = pd.DataFrame(rows, index=names).T
big.map(lambda v: f"{v:.3g}")

# %%
ok = big["p50 ms"] <= big["p99 ms"]
assert ok.all() and (big["a second"] > 0).all()
print("timed on:", stored["machine"])
print("load average when stored:", round(stored["results"]["load_average"], 1))

# %% [markdown]
# Read the load average before the quantiles. On a machine that does other work, `p99` tells of
# that work. Each line is a process of its own, because the thread pools of two engines in one
# process disturb each other: they spin while they wait.
#
# ## What goes wrong
#
# A file comes from a colleague. The same net, the same weights, the same shapes. Her classes
# run from buy to sell. Nothing fails: three numbers in, three numbers out. We read them in our
# order.

# %%
p, _ = trader.answers(windows)
wish = p[:, 2] - p[:, 0]
misread = p[:, ::-1][:, 2] - p[:, ::-1][:, 0]
assert np.allclose(wish, -misread)
print("every position has the wrong sign:", bool(np.allclose(wish, -misread)))

# %% [markdown]
# A backtest would look bad, and somebody would tune it. The mend is to write the meaning of
# the outputs into the file, and to check it where it is read.

# %%
fields = {k: getattr(trader.spec, k) for k in trader.spec.__dataclass_fields__}
try:
    inference.Spec(**fields | {"classes": ("buy", "hold", "sell")})
except inference.CheckpointError as error:
    named = error.name
    print(error)
assert named == "classes"

# %% [markdown]
# ## Summary
#
# - Fresh memory costs a page fault for each 4 kB. Keep buffers, or tell the allocator to.
# - A batch norm in eval mode is a line, and melts into the convolution before it.
# - A checkpoint says how its net is fed and what it answers, and is refused if it contradicts.
# - An engine first has to decide alike on real windows. Then it may be fast.
# - Eight bits share one step among many numbers. They pass a gate, or they are refused.
# - Report quantiles, one engine a process, and the load of the machine.
#
# ## Exercises
#
# ```{exercise} Half a step
# :label: ex-inference-step
# Weights between $-0.635$ and $0.635$ are rounded to int8 with one step. How far can a weight
# move? Check it on a thousand of them.
# ```
#
# ```{solution-start} ex-inference-step
# :class: dropdown
# ```

# %%
w = torch.linspace(-0.635, 0.635, 1_000)
step = 0.635 / 127  # 0.005, so half a step is 0.0025
assert (to_steps(w, step) - w).abs().max() <= step / 2 + 1e-6

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} An agreement of 100 %
# :label: ex-inference-constant
# A net says «buy» to every picture. Its INT8 copy does too. What is their agreement, what does
# it tell you, and what does `require_agreement` do?
# ```
#
# ```{solution-start} ex-inference-constant
# :class: dropdown
# ```

# %%
always = np.tile([0.0, 0.1, 0.9], (100, 1))
noise = always + np.random.default_rng(0).normal(0, 0.1, always.shape)
assert inference.agreement(noise, always) > 0.95  # and says nothing about the noise
try:
    inference.require_agreement(noise, always)
except ValueError as error:
    print(error)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Further reading
#
# Folding and integer arithmetic: {cite:t}`jacob2018`. The net and its swish:
# {cite:t}`tan2019` and {cite:t}`ramachandran2017`. The block whose gates we kept:
# {cite:t}`hu2018`.
