# %% [markdown]
# (ch-fast-inference)=
# # Fast inference
#
# **Where do the milliseconds go, and which of them can we have back without changing a decision?**
#
# ```{admonition} What you will do
# :class: tip
# - count the {term}`page faults <page fault>` of fresh memory, and see what they cost a net
# - {term}`fold batch norms <batch norm folding>` into convolutions by hand
# - load a net from a file that refuses to be misread, and run it on another engine
# - read one table of quantiles, bytes and decisions
# - {term}`round a net <quantisation>` to eight bits, and test it before it may answer
# ```
#
# *You need* {ref}`ch-mbconv` and {ref}`ch-se-trader`. *Runs* in under 30 s on two cores.

# %%
import mmap
import resource

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from setrade import candles, inference, races, results
from setrade.inference import Predictor
from setrade.plots import use_style

use_style()
torch.set_num_threads(1)

# %% tags=["parameters"]
N_PICTURES = 64  # real windows to compare engines on; the study: more
MEGABYTES = 40  # of the buffer whose page faults are counted

# %% [markdown]
# ## 1 What fresh memory costs
#
# The last two chapters brought bars in and sent orders out. Between the two stands the net. It is
# asked once a bar, and the order waits for its answer. A replay asks it once for each bar of years,
# so that the length of one call decides whether it takes minutes or a night. Before we make
# anything faster, we measure where the time goes, and begin with what is overlooked most easily.
# Then comes what leaves the answers as they are, or nearly so, and at the end what may turn
# decisions: eight bits.
#
# We think of a net as something that spends its time multiplying, but each layer also needs a place
# for its result. Memory that a program asks for is a promise: the system hands out a page of 4 kB
# only when it is first touched, and clears it before. That is a **page fault**, and it is slow
# because it costs a trip into the kernel.
#
# Large requests are promised anew each time and given back after use, so a net that is called again
# pays again. The system counts the faults of a process, so we can count them too. We write a buffer
# twice: fresh, and kept.


# %%
def faults_of(work):
    """Return how many pages ``work`` touched for the first time."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


# %%
size = MEGABYTES * 2**20
pages, zeros = size // mmap.PAGESIZE, bytes(size)
# what an allocator does for a large request
buffer = mmap.mmap(-1, size)
fresh = faults_of(lambda: buffer.write(zeros))
buffer.seek(0)
kept = faults_of(lambda: buffer.write(zeros))
print(f"{pages:,} pages; a fault a page when fresh: {fresh >= pages}")
print(f"under a hundred when kept: {kept < 100}")

# %%
assert fresh >= pages and kept < 100

# %% [markdown]
# There are two ways to avoid these faults. The first is to keep buffers and write into them, as the
# `out=` of our image encoders does, but inside a net we cannot do that. The second tells the
# allocator never to give large blocks back, which takes three lines in the environment. A fourth
# asks for larger pages, so that fewer of them have to be faulted in. The Makefile of this book sets
# all four: look for `MALLOC_` and `THP_` in it. A process that you start by yourself does not have
# them.
#
# How much is that for a whole net? `make study STUDY=latency` timed every engine of this chapter in
# a process of its own, with and without the four lines. A third run (`wide` in the table) keeps the
# memory and lifts the Makefile's other limit, which holds PyTorch to AVX2 instructions so that all
# machines print the same digits. The study stored its results in `latency.json`.

# %%
stored = results.load("latency")
lines = stored["results"]["lines"]


def p50(net, engine, batch, memory="kept"):
    """Return the stored median milliseconds of one call."""
    return lines[f"{net}/{engine}/{memory}"]["latency"][str(batch)][
        "p50"
    ]


# %%
cases = [
    (key.split("/")[0], int(b))
    for key, line in sorted(lines.items())
    if key.endswith("/eager/kept")
    for b in line["latency"]
]
memory = pd.DataFrame(
    [
        [p50(net, "eager", b, m) for m in ("fresh", "kept", "wide")]
        for net, b in cases
    ],
    index=[f"{net}, batch {b}" for net, b in cases],
    columns=["fresh ms", "kept ms", "wide ms"],
)
memory["ratio"] = memory["fresh ms"] / memory["kept ms"]
assert memory["ratio"]["b0_224, batch 32"] > 1.5
memory.round(2)

# %% [markdown]
# The ratio, fresh over kept, is a price of the allocator. It says nothing of an architecture, and
# another machine will have another one: the file names the processor and the load it ran under.
# Where it lies below one, as for a single small picture, it shows only how far two processes
# scatter, since kept memory saves faults and adds none. A comparison of two engines therefore has
# to say which of the two columns the slow one stands in, and section 4 compares in both.
#
# ## 2 Batch norm is arithmetic that is already done
#
# After training, a batch norm is a straight line for each channel, because its mean $\mu$ and
# variance $\sigma^2$ are constants. A convolution before it is linear as well, and two linear steps
# in a row can be computed as one.
#
# ```{prf:proposition} A batch norm folds into its convolution
# :label: prop-fold
#
# Let a convolution without bias, with weights $w$, be followed by a batch norm whose $\gamma$,
# $\beta$, $\mu$, $\sigma^2 \ge 0$ and $\epsilon > 0$ are constants for each output channel. In
# exact arithmetic, for every input $x$,
#
# $$\gamma\,\frac{(w * x) - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta
#   = \underbrace{\frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\,w}_{w'} * x
#   + \underbrace{\beta - \frac{\gamma\,\mu}{\sqrt{\sigma^2 + \epsilon}}}_{b'},$$
#
# so that one convolution with weights $w'$ and bias $b'$ does the work of both.
# ```
#
# ```{prf:proof}
# A convolution is linear in its weights, so a factor of its output is a factor of $w$. What does
# not depend on $x$ is $b'$.
# ```
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
predictor = Predictor.load("efficientnet_micro")
charts, times = predictor.inputs(bars, N_PICTURES)
x = inference.to_tensor(charts, spec)
with torch.inference_mode():
    plain, short = net(x), folded(x)
assert torch.allclose(plain, short, atol=1e-4)
print(
    "largest difference below 1e-4:",
    bool((plain - short).abs().max() < 1e-4),
)

# %% [markdown]
# ## 3 A file that refuses to be misread
#
# A file of weights holds numbers with names. It does not say which net they belong to, how its
# input was scaled, or whether output 0 means sell or buy. Our files do say it: they are
# safetensors, a format that can hold no code, and their header carries a `Spec`: architecture and
# arguments, preprocessing, order of the classes, input shape, a version, and a hash over all.
#
# Not all of it has to be taken on trust, because loading a file builds its preprocessing, draws one
# picture with it, and lets the net answer once. A file that is whole and signed can still
# contradict itself, and that is found at once, not at the first bar. Here is one that says its
# pictures are not square:

# %%
fields = {k: getattr(spec, k) for k in spec.__dataclass_fields__}
try:
    inference.Spec(**fields | {"input_shape": (3, 64, 32)})
except inference.CheckpointError as error:
    named = error.name
    print(error)

# %%
assert named == "input_shape"

# %% [markdown]
# Three small nets come with this book. `make study STUDY=checkpoints` trains them in minutes, and
# `checkpoints.json` holds their cards. Two learned what a picture **shows**, from synthetic
# markets: `efficientnet_micro` reads a rule of crossing averages off candlesticks, and
# `efficientnet_patterns` tells drawn tops from bottoms from neither. The third, `se_trader`, was
# asked for the **future** of the sample. Their cards give the results:

# %%
cards = results.load("checkpoints")["results"]
for name, card in cards.items():
    print(f"{name}: {card['label'].split(':')[0]}")

# %%
assert {
    "efficientnet_micro",
    "efficientnet_patterns",
    "se_trader",
} == set(cards)

# %% [markdown]
# `right` is the share of answers that are right on windows that the net never saw: for the two
# EfficientNets the mean over the three classes, so that a constant answer gets a third.
# `efficientnet_micro` was also asked on the whole sample: real bars, and it learned from none.


# %%
def scored(test):
    """Return the share right, its interval, and a constant answer's."""
    balanced = "balanced_accuracy" in test
    constant = "most_frequent_class" + "_balanced" * balanced
    right = test["balanced_accuracy" if balanced else "accuracy"]
    return [right, *test["interval"], test[constant]]


# %%
tests = {
    f"{n}, {k}": c[k]
    for n, c in cards.items()
    for k in ("test", "real")
    if k in c
}
table = pd.DataFrame(
    {n: scored(t) for n, t in tests.items()},
    ["right", "low", "high", "constant answer"],
).T
table.round(3)

# %% [markdown]
# Both picture nets read far better than a constant answer, and `efficientnet_micro` does so on real
# bars too. The net that was asked for the future is not shown to be better than one. The table
# shows in short what much of this book finds: a net learns what is in a picture, and of where the
# price goes over the next hours our nets found next to nothing, and nothing that paid. (Nets that
# read the order book rank the next seconds, {ref}`ch-order-book-day`.) A rule that is read well is
# still no forecast, so all three cards say «no trading».

# %%
future = table.loc["se_trader, test"]
assert future["low"] < future["constant answer"]
shown = table.drop(index="se_trader, test")
assert (shown["low"] > shown["constant answer"] + 0.2).all()
for card in cards.values():
    assert any("No trading" in text for text in card["not_for"])
assert "not untouched" in cards["se_trader"]["test_seen_before"]
rows = pd.DataFrame(
    {n: [c["parameters"], c["bytes"] / 1e3] for n, c in cards.items()},
    ["parameters", "kB"],
).T
assert rows["kB"].sum() < 5_000
rows.astype(int)

# %% [markdown]
# A `Predictor` goes from a file to signals. It knows which bars and channels its net wants, so
# that nothing has to be remembered in between.

# %%
trader = Predictor.load("se_trader")
windows, ends = trader.inputs(bars, 3)
signals = trader.predict(windows, ends)
gates = signals[-1].attention
print(
    windows.shape,
    f"{signals[-1].time:%Y-%m-%d %H:%M}",
    len(gates),
    "gates by name",
)

# %%
assert list(gates) == list(trader.spec.preprocessing["columns"])

# %% [markdown]
# ## 4 Another engine, the same decisions
#
# PyTorch runs a net one layer at a time, from Python. Three things make the same net faster.
#
# - **Batching**: one call for many pictures pays the fixed cost of a call once.
# - **Layout**: `channels_last` stores a picture pixel by pixel, as depthwise kernels like it.
# - **Another engine**: ONNX Runtime reads the graph of the whole net from a file in the format
#   ONNX, and plans it ahead. It fuses layers, reuses one arena, a block of memory that it keeps
#   (section 1 again), and leaves Python out.
#
# `torch.compile` writes and compiles code for the net on this machine, for which it needs a
# compiler and a minute. On a GPU there is more to win: bfloat16, a float of half the length, halves
# the bytes that are moved (`runtime="bf16"`), and ONNX Runtime can hand the net to TensorRT, an
# engine for NVIDIA's GPUs, which has to be asked for by name (`runtime="tensorrt"`), because it
# takes minutes to build an engine for a net before it answers once.
#
# A faster engine is of use only if it answers as the old one does, so before we measure its speed
# we ask for equal answers on real charts.

# %%
exact, _ = predictor.answers(charts)
# a GPU rounds to TF32
close = 1e-5 if predictor.device.type == "cpu" else 1e-2
for runtime in ("channels_last", "folded", "onnx"):
    other = Predictor.load("efficientnet_micro", runtime=runtime)
    p, _ = other.answers(charts)
    assert np.abs(p - exact).max() < close
    alike = inference.agreement(p, exact)
    print(f"{runtime:14} decisions alike: {alike:.0%}")

# %% [markdown]
# Equal probabilities are the strong test, and the cell asserts them to five digits. Equal
# decisions are a weak one where a net is sure: one that always gives the same answer agrees
# with anything. How many answers does ours give on these charts?

# %%
print("answers given:", len(np.unique(exact.argmax(1))), "of 3")
assert len(np.unique(exact.argmax(1))) > 1

# %% [markdown]
# The study asked the same on more windows, and for the other nets too.

# %%
asked = [
    [k.split("/")[0], k.split("/")[1], v["windows"], v["agreement"]]
    for k, v in lines.items() if "agreement" in v and "/kept" in k
]
asked = pd.DataFrame(
    asked, columns=["net", "engine", "windows", "alike"]
)
by_net = asked.groupby("net", sort=False).agg(
    {"engine": "size", "windows": "min", "alike": "min"}
)
assert (asked["alike"] == 1).all()
by_net.rename(columns={"engine": "engines", "alike": "least alike"})

# %% [markdown]
# <!-- number: 2024 by the stored request: from 1 May to the end of 2024 -->
# On a thousand Bybit windows of 2024 the two nets of the book were asked as well.

# %%
for name, found in stored["results"]["bybit"]["alike"].items():
    assert (
        found["agreement"] == 1 and found["largest_difference"] < 1e-5
    )
    assert found["windows"] == 1_000
    print(name, "decides alike on", found["windows"], "Bybit windows")

# %% [markdown]
# Now the speed. `make bench BENCH=inference` gives each engine a process of its own and asks
# them in turns, so that a slow spell of the machine hits both. A call is timed in two ways: **at
# once** after the last one, as a replay calls, and **rested**, as a live bar finds the net: its
# threads are asleep, and the caches hold other things. Both ways are raced with memory that is
# kept, as the Makefile has it, and with fresh memory, as you start a process. Of all processors
# in `bench.json` the least ratio is shown.

# %%
b0 = "test_b0_with_onnx_runtime"
small = "test_se_trader_with_onnx_runtime"
raced = {
    "B0, 224 px, batch 1": b0 + "[224-1-{}]",
    "B0, 224 px, batch 32": b0 + "[224-32-{}]",
    "B0, 64 px, batch 1": b0 + "[64-1-{}]",
    "SETrader, batch 1": small + "[{}]",
}
faster = pd.DataFrame(index=list(raced))
for pause in ("at_once", "rested"):
    for m in ("kept", "fresh"):
        least = [
            races.least(row.format(pause), "eager", m)
            for row in raced.values()
        ]
        called = f"{pause.replace('_', ' ')}, memory {m}"
        faster[called] = [x.ratio for x in least]
print("raced on", "; ".join(least[0].ran))
faster.round(1)

# %% mystnb={"figure": {"caption": "How many times faster ONNX Runtime answers than eager PyTorch in float32, each in a process of its own, asked in turns; the least of all processors. The dotted line is eager itself; the dashed one, at 4, was the target for the batch of 32.", "name": "fig-inference-onnx"}, "image": {"alt": "Horizontal bars, four for each of three cases of B0 and for SETrader, show how many times faster ONNX Runtime answers than eager PyTorch, called at once and after a rest, with kept and with fresh memory; all end right of the dotted line at 1, and for the batch of 32 the bars of fresh memory are the longer ones."}}
fig, ax = plt.subplots(figsize=(7, 4.2))
faster.plot.barh(ax=ax, width=0.8)
ax.axvline(1, ls=":", color="black")
ax.axvline(4, ls="--", color="black", lw=1)
ax.set(xlabel="ONNX Runtime, times faster")
ax.invert_yaxis()
ax.legend(loc="best")
plt.show()

# %%
assert (faster > 1).all(axis=None)
target = faster.loc["B0, 224 px, batch 32"]
for pause in ("at once", "rested"):
    assert (
        target[f"{pause}, memory fresh"]
        > target[f"{pause}, memory kept"]
    )
print("four times:", ", ".join(target.index[target >= 4]) or "nowhere")

# %% [markdown]
# We had set ourselves a target, **four times at batch 32**, and the last line says where it is
# reached. For that batch less is won where memory is kept than where it is fresh; on a single
# picture it can be the other way round.
#
# Both are the same engine, so the difference is eager's, and section 1 says where it comes from.
# The layers of a large batch have large results, and where memory is fresh, a result costs a page
# fault for every 4 kB, on every call. ONNX Runtime keeps one arena and pays in neither case. If
# eager's memory is kept as well, both spend their time multiplying, and then there is less to win.
# On one picture results are small, and much of a call is Python, which the engine saves in either
# case.
#
# So for a large batch, four lines in the environment do a good part of what a new engine does. The
# study, which timed each engine alone, with fresh memory for both and with kept memory for both,
# agrees:

# %%
for memory_of in ("kept", "fresh"):
    gain = lines[f"b0_224/onnx/{memory_of}"]["times_faster"]["32"]
    print(f"B0, 224 px, batch 32, memory {memory_of}: {gain:.1f} times")
    assert gain > {"kept": 2.0, "fresh": 4.0}[memory_of]
engine_cost = {
    m: p50("b0_224", "onnx", 32, m) for m in ("kept", "fresh")
}

# %%
# the arena pays in neither
assert engine_cost["fresh"] < 1.3 * engine_cost["kept"]

# %% [markdown]
# `OnnxNet` takes one step more: it cuts a large batch into pieces of a megabyte, which the cores
# take one by one. What a piece leaves between two layers stays in the cache, and no core waits for
# another after each layer.
#
# ## 5 Gates that are kept
#
# The squeeze looks at a whole window, and the next window shares all bars but one. So gates move
# slowly, and a live net can keep them for a few bars, as `CachedTrader` does.

# %%
many, _ = trader.inputs(bars, 400)
stream = inference.to_tensor(many, trader.spec).to(trader.device)
with torch.inference_mode():
    asked = trader.net(stream).softmax(1)
    moved = {}
    for every in (1, 4, 16):
        cached = inference.CachedTrader(trader.net, every)
        said = torch.cat(
            [cached(stream[i : i + 1], i) for i in range(400)]
        ).softmax(1)
        moved[every] = float((said - asked).abs().max())

# %%
assert moved[1] < 1e-6 and moved[1] < moved[4] <= moved[16] * 1.5

# %%
saving = p50("se_trader", "eager", 1) / p50("se_trader", "cached", 1)
for every, most in moved.items():
    print(
        f"kept for {every:2} bars: "
        f"probabilities move by under 0.02: {most < 0.02}"
    )
print(
    "stored: a call with kept gates takes "
    f"{1 / saving:.2f} of a whole one"
)

# %% [markdown]
# What is missing to one is the most that kept gates can save of a call, even if they were kept for
# ever. (Raced in turns on two processors, kept gates come out less far ahead, and the ledger takes
# the least.) Compare it with what the table below says of an engine that fuses the whole net, and
# changes no answer.
#
# ## 6 The table
#
# The table gives quantiles, because the mean hides the slow calls, and it is a slow call that
# misses the bar. `p99` is the time that only one call in a hundred exceeds, and batch 1 is the live
# case.

# %%
def row(key, batch):
    """Return one line of the table."""
    line, took = lines[key], lines[key]["latency"][str(batch)]
    gain = line["times_faster"][str(batch)]
    return [
        took["p50"],
        took["p95"],
        took["p99"],
        took["throughput"],
        gain,
        line["bytes"] / 1e6,
        line.get("agreement", np.nan),
    ]


# %%
names = ["p50 ms", "p95 ms", "p99 ms", "a second", "x eager", "MB",
         "alike"]
engines = ("eager", "channels_last", "folded", "compiled", "onnx",
           "cached")
rows = {
    (n, b, e): row(f"{n}/{e}/kept", b)
    for n, b in cases
    for e in engines
    if f"{n}/{e}/kept" in lines
}
big = pd.DataFrame(rows, index=names).T
big.map(lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.3g}")

# %%
ok = big["p50 ms"] <= big["p99 ms"]
assert ok.all() and (big["a second"] > 0).all()
print("timed on:", stored["machine"])
print(
    "load average when stored:",
    round(stored["results"]["load_average"], 1),
)
b0 = {e: p50("b0_224", e, 1) for e in ("eager", "compiled", "onnx")}

# %%
assert b0["onnx"] < b0["eager"] < b0["compiled"]

# %%
sizes = ("b0_224", "b3_300", "b5_456")
by_size = pd.DataFrame(
    {
        net: {
            "eager ms": p50(net, "eager", 1),
            "onnx ms": p50(net, "onnx", 1),
            "MB": lines[f"{net}/onnx/kept"]["bytes"] / 1e6,
            "windows alike": lines[f"{net}/onnx/kept"]["windows"],
        }
        for net in sizes
    }
).T
print(by_size.round(1).to_string())

# %%
assert (by_size["onnx ms"] < by_size["eager ms"]).all()
assert by_size["onnx ms"].is_monotonic_increasing
assert by_size.loc["b5_456", "onnx ms"] < 1000
assert stored["results"]["kept"]["commit"] != stored["commit"]

# %% [markdown]
# <!-- number: 300, 456 from setrade/efficientnet/net.py -->
# B3 and B5, each at its own size, stand in the table with one picture a call, the live case. The
# bars of this book last a minute and more, so that even B5 answers long before the next one
# opens, and what speaks against the larger nets here is not their latency. They were timed on
# another day than B0, on another machine whose maker gives it the same name, so compare their
# engines with each other rather than with B0's. (Their weights are drawn, and so few windows were
# compared, because a picture takes them long, that `alike` only says that the engines run the same
# net.)
#
# `compiled` is the slowest line of B0 at 224 px. Under the Makefile's pins `torch.compile` finds no
# vector instructions, so our engine has it write its own loops without them, and this table is no
# fair judgement of it. `cached` has no share under `alike`: section 5 measured how far its answers
# move.
#
# Read the load average before the quantiles. On a machine that does other work, `p99` tells of
# that work, and so does a median far from its neighbours. Each line is a process of its own,
# because the thread pools of two engines in one process disturb each other: they spin while they
# wait.
#
# This table calls at once. Section 4 raced the engines rested too, as a live net is called. In
# milliseconds, on small pictures, where a call is short:

# %%
asleep = races.milliseconds(
    raced["B0, 64 px, batch 1"].format("rested")
)
awake = races.milliseconds(
    raced["B0, 64 px, batch 1"].format("at_once")
)
called = {}
for on, ms in awake.items():
    called[f"{on}, at once"] = [ms["eager"], ms["ours"]]
    called[f"{on}, rested"] = [asleep[on]["eager"], asleep[on]["ours"]]
timed = pd.DataFrame(called, ["eager ms", "onnx ms"]).T
timed.round(1)

# %%
for on in awake:
    assert (
        timed.loc[f"{on}, rested"] > timed.loc[f"{on}, at once"]
    ).all()

# %% [markdown]
# After a rest both are slower, and the ratio between them is another one. The answer to "how many
# times faster?" therefore begins with "called how, and on what?". A live net is called after a
# rest; a replay of a year calls at once.
#
# ### What does the picture cost?
#
# Before a net can look, the picture has to be drawn, and the EfficientNet chapter counts «image
# generation overhead» among the disadvantages. `make study STUDY=ablations` times both for one
# window, a call at a time on one core: drawing candles as in {ref}`ch-candlestick-images`, and
# looking with the net as it comes, without the engines of this chapter. A chart takes longer here
# than there, where one call draws hundreds: each call draws one, and turns its bytes into floats.

# %%
made = results.load("ablations")["results"]["overhead"]
sides = {"micro": 64, "lite0": 224, "b0": 224}
costs = pd.DataFrame(made).T.assign(px=pd.Series(sides))
costs["share of drawing"] = costs.pop("share_of_drawing").map(
    "{:.1%}".format
)
costs.rename(columns={"draw": "draw ms", "look": "look ms"}).round(2)

# %%
assert max(one["share_of_drawing"] for one in made.values()) < 0.1
assert made["lite0"]["share_of_drawing"] < 0.02
assert made["b0"]["share_of_drawing"] < 0.02
assert made["micro"]["share_of_drawing"] > 0.02
assert made["b0"]["look"] < 44
assert made["lite0"]["look"] / made["micro"]["look"] > (
    2 * made["lite0"]["draw"] / made["micro"]["draw"]
)

# %% [markdown]
# <!-- number: 44, 52 from book/results/bench.json -->
# Drawing takes a few hundredths of the time at most, and about one hundredth before the larger
# nets, because from micro to Lite0 the time to look grows far more than the time to draw. So the
# overhead is there, and it is small: below the tenth of the whole time from which on the ledger
# would call it one, a threshold of our own. That holds for candles drawn by the compiled code of
# this book. mplfinance took 44 to 52 ms for a chart of that size, in the stored benchmark of
# {ref}`ch-candlestick-images`, which is more than B0 takes here to look at one, though the two were
# timed in different runs.
#
# ## 7 Eight bits
#
# A float has 32 bits. With eight bits the weights of a net need a quarter of the bytes, and
# processors are fast at integer arithmetic. (A file also holds the steps, the order of the layers,
# and what stays in float32, so that more than a quarter is left of it, and most of it where the net
# is small.) The price is that numbers have to lie on a grid.
#
# ```{prf:definition} Rounding to eight bits
# :label: def-eight-bits
#
# Let numbers $v$, not all zero, share one step $s$. Each becomes a whole number of steps $q$, and
# $\hat v$ stands for it:
#
# $$q = \mathrm{round}(v / s),\qquad \hat v = s\,q,\qquad s = \frac{\max |v|}{127}.$$
# ```
#
# ```{prf:proposition} Half a step
# :label: prop-half-step
#
# Every $q$ lies between $-127$ and 127, and no number moves by more than half a step:
# $|\hat v - v| \le s / 2$.
# ```
#
# ```{prf:proof}
# By the choice of $s$, $v / s$ lies between $-127$ and 127, whose ends are whole, so that rounding
# stays between them. It moves $v / s$ by at most a half, and so $v$ by at most $s / 2$.
# ```
#
# But the step is set by the **largest** number that shares it, so one channel with large weights
# makes the grid coarse for all.


# %%
def to_steps(w, step):
    """Return weights rounded to whole steps of int8."""
    return (w / step).round().clamp(-127, 127) * step


# %%
small = torch.tensor([[0.012, -0.026], [1.0, -1.27]])  # two channels
together = to_steps(small, small.abs().max() / 127)
apart = to_steps(small, small.abs().amax(1, keepdim=True) / 127)
print("the small channel:", [round(v, 3) for v in small[0].tolist()])
print("one step for all: ", [round(v, 3) for v in together[0].tolist()])
print("a step of its own:", [round(v, 3) for v in apart[0].tolist()])

# %%
assert torch.allclose(together, small, atol=0.005 + 1e-6)
assert (together[0] - small[0]).abs().max() > 0.003
assert (apart[0] - small[0]).abs().max() < 2e-4

# %% [markdown]
# The largest number is 1.27, so the common step is 0.01, and the small channel keeps one digit
# of its two. With a step of its own, 0.026 / 127, it keeps both.
#
# Now the depthwise layers of our net, after folding. Each of their filters sees one channel alone
# and has had that channel's batch norm folded in, so the sizes of their weights differ.

# %%
layers = {
    f"block {i}": (block.depthwise[0].weight, block.project[0].weight)
    for i, block in enumerate(folded.blocks)
}


# %%
def spread_of(weight):
    """Return the largest channel over the median one."""
    top = weight.detach().flatten(1).abs().amax(1)
    return float(top.max() / top.median())


# %%
spread = pd.DataFrame(
    {k: map(spread_of, pair) for k, pair in layers.items()},
    ["depthwise", "project"],
).T

# %% mystnb={"figure": {"caption": "How many times larger the largest channel of a layer is than its median channel, after folding.", "name": "fig-inference-ranges"}, "image": {"alt": "For each block of the micro net two bars show how many times larger the largest channel is than the median channel: about two to four times in the depthwise layers, under 1.7 times in the projecting ones, and in every block the depthwise bar is the higher one."}}
fig, ax = plt.subplots()
spread.plot.bar(ax=ax, rot=0)
ax.set(ylabel="largest / median channel", xlabel="")
plt.show()

# %%
assert (spread["depthwise"] > spread["project"]).all()
assert (
    spread["depthwise"].between(1.8, 4).all()
    and (spread["project"] < 1.7).all()
)

# %% [markdown]
# The figure compares channels by their largest weight. What does the rounding cost, with one
# step a layer and with one a channel?


# %%
def error_of(weight, per_channel):
    """Return the mean rounding error over the mean size of a weight."""
    top = weight.abs().flatten(1).amax(1)
    step = (top if per_channel else top.max()) / 127
    rounded = to_steps(weight, step.view(-1, *[1] * (weight.ndim - 1)))
    return float((rounded - weight).abs().mean() / weight.abs().mean())


# %%
errors = [
    [error_of(w.detach(), c) for w, _ in layers.values()]
    for c in (False, True)
]
print(
    "depthwise, mean error: "
    f"one step a layer {np.mean(errors[0]):.1%}, "
    f"one a channel {np.mean(errors[1]):.1%}"
)

# %%
assert np.mean(errors[1]) < np.mean(errors[0])

# %% [markdown]
# Weights are only half of what is rounded, because **activations** are rounded too. Their ranges
# are read off {term}`calibration pictures`, which must not be among those that are compared.
# `make study STUDY=int8` rounded three nets in several ways, and compared each with its own float32
# net: our small net on a thousand real windows, a B0 with drawn weights on the same, and Lite0 with
# its ImageNet weights, which has neither swish nor gates, on crops of two photographs. It stored
# `int8.json`.

# %%
eights = results.load("int8")["results"]
fields = [
    "agreement",
    "logit_error",
    "times_faster",
    "bytes",
    "accepted",
]
recipes = pd.DataFrame(
    {
        (net, name): [row[field] for field in fields]
        for net, table in eights.items()
        for name, row in table["recipes"].items()
    },
    fields,
).T
micro = recipes.loc["micro_64"].copy()
micro["bytes"] = micro["bytes"] / eights["micro_64"]["float32"]["bytes"]
micro.drop(columns="times_faster")

# %% [markdown]
# `agreement` is the share of decisions that are those of float32, and `logit_error` the root mean
# square change of an output, over the spread of all outputs. `bytes` are a share of the float32
# file.
#
# Each name says in what a recipe departs from `per_channel`, which rounds all layers to eight bits,
# with one step a channel and the full range of values: one step a layer (`per_tensor`); a range
# without the most extreme values (`percentile`) or chosen by the entropy method; seven bits a
# weight (`reduce_range`); gates (`no_se`), or the first and the last layers (`no_ends`), left in
# float32; rounded convolutions and linear layers only (`layers_only`), or of these only those that
# mix channels inside the blocks (`dense_only`); ranges of values read at run time (`dynamic`);
# sixteen bits a value (`activations_16`).
#
# An **acceptance test** asks for 98 %. What fails it is refused by an error, with the reason. A
# reference that gives one answer to everything is refused as well, because agreement with it would
# say nothing. Since the check is in the code, nobody has to remember to look.

# %%
rows = [
    row
    for table in eights.values()
    for row in table["recipes"].values()
]
assert all(
    row["accepted"] == (row["agreement"] >= 0.98) for row in rows
)
refused = [row["reason"] for row in rows if not row["accepted"]]
print(len(refused), "of", len(rows), "refused. The first reason:")
print(refused[0])

# %%
assert (
    micro["accepted"].all()
    and not recipes.loc["b0_64", "accepted"].any()
)

# %% [markdown]
# Every recipe passes for our small net, which learned a rule, and none for the two others.
#
# ### Why are they refused?
#
# A first suspect is a kind of layer. So the study rounded one kind at a time, its weights and
# its values, and left all else in float32. The other suspects are the two halves: weights in
# eight bits with values in sixteen, and the other way round.

# %%
kinds = pd.DataFrame({
    net: {k: 1 - row["agreement"] for k, row in table["kinds"].items()}
    for net, table in eights.items()
})
halves = pd.DataFrame({
    net: {k: 1 - row["agreement"] for k, row in table["halves"].items()}
    for net, table in eights.items()
})
(100 * halves).round(1)

# %% mystnb={"figure": {"caption": "Decisions that change, in percent, when one kind of layer alone is rounded to eight bits, in three nets.", "name": "fig-inference-kinds"}, "image": {"alt": "Grouped bars for nine kinds of layer and three nets: activations change most decisions of the micro net and of B0, stem, depthwise and projecting layers about equally many of Lite0."}}
fig, ax = plt.subplots()
(100 * kinds).plot.bar(ax=ax, rot=45)
ax.set(ylabel="decisions changed / %", xlabel="kind of layer rounded")
plt.show()

# %% [markdown]
# The halves answer first: values cost more than weights, in all three nets. Weights can be given a
# step for each channel, while values get only one a layer.
#
# The kinds of layer differ too: in the two nets with swish, the kind that turns most decisions is
# what lies between the layers: swish and the products with gates (`activations` in the figure).
# Swish has a long tail on the right and a shallow dip to $-0.28$ on the left, so a grid that
# reaches the tail has few steps left for the dip. But Lite0 has no swish and no gates, and yet it
# loses more: there stem, depthwise and projecting layers each turn about one decision in six, and
# all kinds together turn over half. So swish and gates are not the whole cause, and you have to
# measure the net that you have.

# %%
swish = torch.nn.functional.silu(torch.linspace(-8, 8, 10_001))
assert abs(swish.min() + 0.28) < 0.005 and swish.max() > 7.9

# %%
assert (halves.loc["values only"] > halves.loc["weights only"]).all()
assert (kinds[["micro_64", "b0_64"]].idxmax() == "activations").all()
sixth = kinds.loc[["stem", "depthwise", "project"], "lite0_224"]

# %%
assert sixth.between(0.12, 0.22).all()
assert 1 - recipes.loc[("lite0_224", "per_channel"), "agreement"] > 0.5

# %% [markdown]
# How can one rounded layer turn a decision? To find out, look at which decisions turn.

# %% mystnb={"figure": {"caption": "Agreement with float32 by how sure float32 was, in quarters of the examples, one step a channel.", "name": "fig-inference-margin"}, "image": {"alt": "Three lines rise from the least sure to the most sure quarter of examples; the trained micro net agrees above the dotted 98 % line in all but the first quarter."}}
fig, ax = plt.subplots()
for net_name, style in zip(eights, ("o-", "s--", "^:"), strict=True):
    quarters = eights[net_name]["recipes"]["per_channel"]["by_margin"]
    ax.plot([1, 2, 3, 4], quarters, style, label=net_name)
ax.axhline(0.98, ls=":", color="black")
ax.set(
    xlabel="quarter, from least sure to most sure", ylabel="agreement"
)
ax.set_xticks([1, 2, 3, 4])
ax.legend()
plt.show()

# %%
for table in eights.values():
    quarters = table["recipes"]["per_channel"]["by_margin"]
    assert quarters[0] < quarters[3]
small_net = eights["micro_64"]["recipes"]["per_channel"]["by_margin"]

# %%
assert small_net[0] < 0.98 < min(small_net[1:])

# %% [markdown]
# They are the unsure ones, where the distance between the two largest outputs is small and a small
# error is enough to swap them. This fits that our net passes: it reads a rule that is really in the
# picture, and is sure of most answers. B0 has drawn weights and is never sure; Lite0 has a thousand
# classes. A net that was asked for the future is unsure nearly always, so its decisions would turn
# more easily than the error suggests.
#
# ### What helps, and what it costs

# %%
wide = recipes.xs("activations_16", level=1)
assert (wide["agreement"] > 0.75).all() and not wide.loc[
    "b0_64", "accepted"
]
assert (wide["times_faster"].astype(float) < 1 / 3).all()
shares = recipes["agreement"].unstack(0).astype(float)
shares[list(eights)].round(2)

# %% [markdown]
# - Sixteen bits for values, eight for weights: B0 and Lite0 keep many more decisions, though not
#   enough for the acceptance test. The file stays small, but on this processor there is no fast
#   integer code for it, so the calls take over three times as long as in float32.
# - A step a channel is worth much to Lite0, and a percentile that cuts outliers some more.
# - The entropy method equals the range from least to greatest, to the last digit. As the library
#   sets it, it sorts values into 128 bins and then looks for 128 steps, so there is nothing to cut.
# - Leaving gates or ends in float32 helps little, because the layers that stay rounded turn enough.
# - With ranges read at run time (`dynamic`) a call takes over four times as long as in float32.
#
# The last table says how many times faster a recipe is than ONNX Runtime in float32, both on one
# thread and in turns.

# %%
entropy = recipes.xs("entropy", level=1)["agreement"]
assert (
    entropy == recipes.xs("per_channel", level=1)["agreement"]
).all()
lite = shares["lite0_224"]
assert (
    lite["per_tensor"] + 0.1
    < lite["per_channel"]
    < lite["percentile"] - 0.1
)
left = shares.loc[["no_se", "no_ends"]] - shares.loc["per_channel"]
assert (left.abs() < 0.04).all().all()
speed = recipes["times_faster"].unstack(0).astype(float)
assert (speed.loc["dynamic"] < 0.25).all() and speed.loc[
    "per_channel", "micro_64"
] < 1
assert speed.loc["per_channel", "lite0_224"] > 1.2
speed.loc[
    ["per_channel", "activations_16", "dynamic"], list(eights)
].round(1)

# %% [markdown]
# So eight bits do not always pay. They make a large net of plain layers faster but our small one
# slower, whose swish is computed in float32 between two conversions.
#
# ### Trained with the rounding inside
#
# A remedy for a net that has to be in eight bits is to let it learn with them
# {cite:p}`jacob2018`. Each forward pass rounds weights and values, while the gradient passes as if
# nothing had been rounded, so that weights move to where rounding does little harm. The study let
# our net go on like that, on synthetic markets, with no label but its own float32 answers. Then it
# was rounded like the others, and compared with its old float32 self.

# %%
trained = eights["micro_64"]["trained"]
names = ["per_channel", "percentile"]
both = {
    "rounded afterwards": [micro.loc[n, "agreement"] for n in names],
    "trained with it": [trained[n]["agreement"] for n in names],
}
cured = pd.DataFrame(both, names, dtype=float)
gate = {
    n: "passes" if trained[n]["accepted"] else "is refused"
    for n in names
}
print(
    f"{trained['epochs']} passes over "
    f"{trained['pictures']:,} pictures;",
    f"trained with it, {names[0]} {gate[names[0]]}",
)
cured.round(3)

# %% [markdown]
# The first line says whether that is enough for the acceptance test. This net passed already
# without the training, which brought it no gain that a thousand windows could show. Its own float32
# answers moved too, because training changes more than the rounding.

# %%
print(
    "float32 before and after decide alike: "
    f"{trained['float32']['agreement']:.1%}"
)

# %%
assert trained["float32"]["agreement"] > 0.9
assert (
    cured["trained with it"].max() > cured["rounded afterwards"].min()
)

# %% [markdown]
# This book keeps float32 and the faster engine for its small nets, because eight bits would save
# nothing that it is short of. We repeat three recipes here, calibrated on the oldest charts: seven
# bits a weight, sixteen a value, and eight of both.

# %%
first, _ = predictor.inputs(bars.iloc[:333], None)  # the oldest charts
model = inference.to_onnx(net, x[:1])
calibration = inference.to_tensor(first[::3], spec)
off = {}
for recipe in ("reduce_range", "activations_16", "per_channel"):
    eight = inference.quantize(model, calibration, recipe)
    said = inference.OnnxNet(eight)(x)[0]
    off[recipe] = float(
        (said - plain).square().mean().sqrt() / plain.std()
    )
    print(f"{recipe}: bytes kept {len(eight) / len(model):.0%}")
    # the stored band
    assert off[recipe] / micro.loc[recipe, "logit_error"] > 0.5
for recipe in ("reduce_range", "activations_16"):
    assert off[recipe] / micro.loc[recipe, "logit_error"] < 2

# %% [markdown]
# For `per_channel`, eight bits a weight, no upper bound is checked, and this has a reason that
# you can follow on paper. The integer code multiplies a value of eight bits, at most 255, with a
# weight of eight bits, at most 127, and adds two such products. Newer processors (those with
# VNNI, instructions for nets) have room for the sum. Others keep it in sixteen bits, which end at
# 32,767, and cut off what lies above. With seven bits the sum always fits.

# %%
room = 2**15 - 1
sums = {127: 255 * 127 + 255 * 127, 63: 255 * 63 + 255 * 63}
assert sums[63] < room < sums[127]

# %% [markdown]
# In the stored table `per_channel` and `reduce_range` err alike, so nothing was cut on the
# processor that measured it. Here is what yours does.

# %% tags=["nbval-ignore-output"]
stored_error = micro["logit_error"]
assert (
    0.8
    < stored_error["per_channel"] / stored_error["reduce_range"]
    < 1.25
)
times = off["per_channel"] / off["reduce_range"]
print(
    "on this cpu, eight bits a weight err "
    f"{times:.1f} times as much as seven"
)

# %% [markdown]
# Where this is well above one, the very file that passes the acceptance test on one processor may
# be refused on another. The test therefore belongs on the machine that will answer, and
# `reduce_range` is the recipe to begin with where that machine is not known.
#
# ## What goes wrong
#
# A file comes from a colleague, with the same net, the same weights and the same shapes, but her
# classes run from buy to sell. Nothing fails, because three numbers are three numbers in either
# order, and we read them in ours.

# %%
p, _ = trader.answers(windows)
wish = p[:, 2] - p[:, 0]
misread = p[:, ::-1][:, 2] - p[:, ::-1][:, 0]
assert np.allclose(wish, -misread)
print(
    "every position has the wrong sign:",
    bool(np.allclose(wish, -misread)),
)

# %% [markdown]
# A backtest would look bad, and somebody would tune it. The fix is to write the meaning of
# the outputs into the file, and to check it where it is read.

# %%
fields = {
    k: getattr(trader.spec, k) for k in trader.spec.__dataclass_fields__
}
try:
    inference.Spec(**fields | {"classes": ("buy", "hold", "sell")})
except inference.CheckpointError as error:
    named = error.name
    print(error)

# %%
assert named == "classes"

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Fresh memory is a room that is cleaned before each use, and eight bits are a ruler
# with coarse marks. The pictures say where time and digits may go, but not how much of either.
#
# *Proved.* Folding changes nothing in exact arithmetic ({prf:ref}`prop-fold`), and
# {prf:ref}`prop-half-step` bounds what rounding moves. Neither says how many decisions turn.
#
# *Measured here.* Another engine gave the same decisions on real windows, and was faster on every
# processor that raced it, by a ratio that depends on memory and on rest. With fixed ranges eight
# bits make one net of three faster, Lite0, which then fails the acceptance test, and leave the other
# two as slow or slower; with ranges read at run time all three are slower. That keeping gates saves
# time holds. Small nets on a CPU stand in for those of the claims.
#
# *Open.* Libtorch (PyTorch's library for C++) and TensorRT were not run, and the claimed
# milliseconds cannot be tested, because their machine is not named. Which decisions turn on other
# processors, and for other nets, has to be measured there.
# ```
#
# ## Summary
#
# - Fresh memory costs a page fault for each 4 kB. Keep buffers, or tell the allocator to.
# - A batch norm in eval mode is a line, so it can be folded into the convolution before it.
# - A checkpoint says how its net is fed and what it answers, and is refused if it contradicts.
# - An engine first has to decide alike on real windows; only then does its speed count.
# - Report quantiles, one engine a process, and the load of the machine.
# - Eight bits share one step among many numbers, so a rounded net has to pass an acceptance test
#   before it is used.
#
# ## Exercises
#
# ```{exercise} Half a step ★
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
# ```{exercise} An agreement of 100 % ★
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
# and says nothing about the noise
assert inference.agreement(noise, always) > 0.95
try:
    inference.require_agreement(noise, always)
except ValueError as error:
    print(error)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Your net on your machine ★★★
# :label: ex-inference-own
# Export a net of your own, and measure on your machine, in turns, how long one picture takes in
# each of the engines. Give the median and the worst of a hundred, not the mean, and check that the
# answers agree.
# ```
#
# ```{solution} ex-inference-own
# :class: dropdown
# The worst matters to a live program more than the mean. Run the engines in turns, since a machine
# that grows warm becomes slower for the one that comes last. Compare answers by their probabilities
# and not by the class alone, as the exercise before this one shows. Report threads, batch and
# whether the memory was fresh.
# ```
#
# ## Further reading
#
# Folding and integer arithmetic: {cite:t}`jacob2018`. The net and its swish:
# {cite:t}`tan2019` and {cite:t}`ramachandran2017`. The block whose gates we kept:
# {cite:t}`hu2018`.
