# %% [markdown]
# (ch-scaling-out)=
# # Scaling out
#
# **How do you run ten thousand trainings and still trust every row of the table?**
#
# ```{admonition} What you will do
# :class: tip
# - write a study as a list of run configurations, and give each one a name
# - store every run the moment it ends, failures too
# - see how a study that drops its failures flatters itself
# - run one study on one worker, on two, and on a cluster, and compare the tables
# - estimate what a thousand cores would bring, and what they would cost
# ```
#
# *You need* {ref}`ch-se-trader` *and* {ref}`ch-honest-evaluation`. *Runs* in under 40 s on two cores.

# %%
import hashlib
import json
import os
import signal
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import results
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.study import Store, StudyError, grid, key, run

use_style()
folder = Path(tempfile.mkdtemp())

# %% tags=["parameters"]
N_SEEDS = 40  # runs of the toy study
CORES = 1_000  # of the cluster on paper
DOLLARS = 0.04  # for one core and hour, an assumption: put your own

# %% [markdown]
# ## 1 A study is a list
#
# <!-- number: 480 by 6 · 10 · 8 -->
# The verdict of this book rests on some hundreds of trainings. Six nets, ten seeds, eight stretches
# of history: 480 of them for one question. A notebook loop over 480 trainings has three weak
# points: a crash loses everything, a second machine cannot help, and nobody can say afterwards
# which settings were tried.
#
# The remedy is to separate the plan from the work: first write down *all* runs, as plain data, and
# only then run them. The **configuration** of a run is names and values, nothing else, and `grid`
# spells out all of them.

# %%
configs = grid(model=["none", "mean"], seed=range(3), fold=range(2))
print(len(configs), "runs; the first and the last:")
print(configs[0])
print(configs[-1])

# %% [markdown]
# A run needs a name that does not depend on when it ran or in which order its fields were written.
# By hand, we get one if we sort the names, write JSON and take the hash.

# %%
def name_of(config):
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


shuffled = dict(reversed(configs[0].items()))
print(name_of(configs[0]), name_of(shuffled))

# %% [markdown]
# The package computes the name in the same way.

# %%
assert [name_of(config) for config in configs] == [
    key(config) for config in configs
]
assert len({key(config) for config in configs}) == len(configs)

# %% [markdown]
# ## 2 One line a run
#
# A run is stored the moment it ends, as one line of JSON that is appended to a file. An append of
# one line is the safest write there is, because it touches nothing that was there before, so a
# crash can lose the run under way and no other.
#
# The first line of the file says which study it is, on which data, and what all runs share. By
# hand, it is this much:

# %%
def append(path, row):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


by_hand = folder / "by_hand.jsonl"

# %%
append(by_hand, {"study": "toy", "data_sha256": {}, "setting": {}})
append(
    by_hand,
    {"key": key(configs[0]), "status": "ok", "measures": {"x": 1}},
)
print(by_hand.read_text(encoding="utf-8"))

# %% [markdown]
# `Store` adds what is needed in daily use. It flushes to the disk, undoes a line that the disk
# could not take, refuses a file that belongs to other data or another setting, and lets one process
# write at a time. And it answers the question that makes a study resumable: which runs are missing?

# %%
store = Store(folder / "toy.jsonl", "toy", {"bars": "abc"})
print(
    len(store.missing(configs)), "of", len(configs), "runs are missing"
)

# %% [markdown]
# Our toy run takes the place of a training. It draws 250 daily returns without any edge and says
# what they add up to.

# %%
def drift(config):
    rng = np.random.default_rng(config["seed"])
    daily = rng.normal(0, 0.02, 250)
    return {"total": float(np.prod(1 + daily) - 1)}


report = run(drift, configs, store, say=print)
print(
    report.ran, "ran,", report.failed, "failed,", report.skipped,
    "skipped",
)

# %% tags=["nbval-ignore-output"]
row = store.rows()[0]
print(
    {
        name: row[name]
        for name in ("commit", "machine", "device", "seconds")
    }
)

# %% [markdown]
# The line that was printed before the others ran is the estimate: the first run goes alone, and its
# time tells how long the rest will take. Every row carries what is needed to repeat it: the
# configuration, the commit, the versions, the machine.
#
# If we call it again, nothing happens, because no run is missing, and this is all there is to
# resuming.

# %%
again = run(drift, configs, store, say=print)
print(again.ran, "ran,", again.skipped, "skipped")
assert again.ran == 0

# %% [markdown]
# ## 3 The same table from one worker, two, and a cluster
#
# `run` has two backends. One is loky, with joblib {cite:p}`joblib` around it, which starts
# processes on this machine. The other is Dask {cite:p}`rocklin2015`, which reaches a cluster. The
# study does not change:
#
# ```bash
# make study STUDY=se_real                                    # all cores of this machine
# python studies/se_real.py --backend dask --address tcp://scheduler:8786 --jobs 1000
# ```
#
# Here is the toy study once more, on two workers:

# %%
two = Store(folder / "two.jsonl", "toy", {})
run(drift, configs, two, n_jobs=2, say=lambda text: None)
same = [row["measures"] for row in two.of(configs)]
assert same == [drift(config) for config in configs]
print(
    "two workers, the same table:",
    same == [drift(config) for config in configs],
)

# %% [markdown]
# Whether that holds with real nets, and with processes that can die, is a longer run
# (`make study STUDY=scaling`, stored in `scaling.json`). It trains 128 SE traders on the embedded
# sample: on one loky worker, on two, on a Dask cluster of a scheduler and two workers, each a
# process of its own, and once more while one of these workers is killed half-way.

# %%
stored = results.load("scaling")["results"]
for name, report in stored["reports"].items():
    same = (
        "same table" if stored["same_table"][name] else "ANOTHER TABLE"
    )
    print(
        f"{name:7} {report['wall_seconds']:6.1f} s  {report['ran']} "
        f"runs  {same}"
    )

# %%
assert all(stored["same_table"].values())
assert stored["worker_was_killed"]

# %% [markdown]
# The tables are equal to the last digit. Each net draws from its own seed and computes on one
# thread, so it does not matter where or when it runs. The runs of the killed worker went to the
# other one.
#
# Two workers were not twice as fast. Where did the time go? Each row says when its run began and
# how long it took, so we know when no run was under way, because workers were starting or stopping.

# %%
def split(report, workers):
    wall, busy = report["wall_seconds"], report["busy_seconds"]
    lost = [wall - busy, busy - report["work_seconds"] / workers]
    return [
        round(x, 1)
        for x in (wall, report["work_seconds"] / workers, *lost)
    ]


columns = [
    "wall s", "work a worker s", "no run under way s",
    "a worker idle s",
]
ways = {"loky_1": 1, "loky_2": 2, "dask_2": 2}
lost = [
    split(stored["reports"][way], workers)
    for way, workers in ways.items()
]
lost = pd.DataFrame(lost, ways, columns)
lost

# %%
share = 1 - lost["work a worker s"] / lost["wall s"]
print(
    "not spent at work:", {way: f"{x:.0%}" for way, x in share.items()}
)
assert share["loky_1"] < 0.05
assert lost.loc[["loky_2", "dask_2"], "no run under way s"].min() > 1
side_by_side = 2 * lost.loc["loky_2", "work a worker s"]

# %%
assert side_by_side > lost.loc["loky_1", "work a worker s"]

# %% [markdown]
# Three things cost time. Workers have to start, and the first run goes alone. At the end one worker
# is idle while the other finishes. And the work itself grew: a run took longer with another one
# beside it, as is to be expected where both share one memory.
#
# These seconds are a large part of a minute, and a small part of a long study. The study of
# {ref}`ch-verdict` also ran on two workers (`se_real.json`); it has more runs than its 480 nets,
# because the plain models beside them are runs too:

# %%
machinery = results.load("se_real")["results"]["machinery"]
busy = machinery["busy_seconds"]
idle = 1 - machinery["work_seconds"] / (2 * busy)
print(
    f"{machinery['runs']} runs in {busy / 60:.0f} minutes, idle "
    f"{idle:.1%} of them"
)

# %%
assert busy < 40 * 60
assert idle < 0.05

# %% [markdown]
# ## 4 A thousand cores, on paper
#
# Amdahl's law {cite:p}`amdahl1967` says how far this goes. It splits the time into a part that
# divides among the workers and a part that does not.
#
# ```{prf:proposition} Amdahl's law
# :label: prop-amdahl
#
# Let a study take the time $s > 0$ that nobody can share, and the time $w > 0$ that $n$ workers
# share equally and without loss:
#
# $$T(n) = s + \frac{w}{n}.$$
#
# Then $n$ workers are $T(1) / T(n)$ times as fast as one. This grows with $n$ and stays below
# $1 + w / s$, however many there are.
# ```
#
# ```{prf:proof}
# $T(n)$ falls as $n$ grows, and stays above $s$. So $T(1) / T(n)$ rises, and stays below
# $(s + w) / s$.
# ```
#
# Here $w$ is the training, and $s$ is what the process in charge does alone: it hands out each run,
# and appends and flushes each row. To find $s$ we timed that process with a thousand runs that do
# nothing.

# %%
serial = stored["serial_milliseconds"] / 1e3
one = stored["reports"]["loky_1"]
work = one["work_seconds"]
overhead = one["wall_seconds"] / work - 1
print(f"serial part of a run   {1e3 * serial:.1f} ms")
print(f"work in a run          {work / stored['runs']:.2f} s")
print(f"machinery on one worker {overhead:.1%} of the work")

# %%
assert overhead < 0.05

# %% [markdown]
# <!-- number: 64 from book/results/se_real.json -->
# Now the full grid that the EfficientNet chapter would need: three symbols, three timeframes,
# channels and five kinds of picture, two models each, ten seeds, eight folds. A run of each kind
# takes what it took on real hourly bars (`se_real.json` and `pictures_real.json`,
# {ref}`ch-verdict`). That is still a lower bound: shorter bars are more bars, and B0 at 224 pixels
# is larger than our small net at 64.

# %%
def seconds_of(name):
    machinery = results.load(name)["results"]["machinery"]
    return machinery["work_seconds"] / machinery["runs"]


n_each = 3 * 3 * 2 * 10 * 8
n_runs = (1 + 5) * n_each
total_work = n_each * (
    seconds_of("se_real") + 5 * seconds_of("pictures_real")
)
seconds = total_work / n_runs
print(
    f"{n_runs} runs of {seconds:.0f} s: {total_work / 3600:.0f} core "
    "hours"
)

# %% mystnb={"figure": {"caption": "Amdahl's law with the measured serial part. Dots: what was measured on one and two workers, scaled to the full grid.", "name": "fig-amdahl"}, "image": {"alt": "Time of the full grid against the number of workers on logarithmic axes; the curve follows the ideal line and lies a little above it at a thousand."}}
n = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, CORES])
ideal, amdahl = total_work / n, n_runs * serial + total_work / n
fig, ax = plt.subplots(figsize=(6, 3.6))
ax.loglog(n, ideal / 3600, color=NEUTRAL, ls="--", label="ideal")
ax.loglog(n, amdahl / 3600, color=UP, label="with the serial part")
walls = [stored["reports"][f"loky_{k}"]["wall_seconds"] for k in (1, 2)]
measured = total_work / 3600 * np.array(walls) / work
ax.plot(
    [1, 2], measured, "o", color=DOWN, label="measured here, scaled"
)
ax.set(xlabel="workers", ylabel="hours for the full grid")
ax.legend()
plt.show()

# %%
speedup = amdahl[0] / amdahl[-1]
print(f"{CORES} workers: {speedup:.0f} times as fast as one")
print(
    f"at most {1 + total_work / (n_runs * serial):.0f} times, however "
    "many workers"
)

# %%
assert 55 < CORES - speedup < 85
# workers, with half-second runs
assert 200 < work / stored["runs"] / serial < 600
assert measured[1] < measured[0]

# %% [markdown]
# The second dot lies above the line, because workers take seconds to start, as the table above
# says. In a study of one minute that shows, while in a long one it does not.
#
# The bend at the right end is slight, because milliseconds are little beside twenty seconds of
# training. Yet a thousand workers wait for the one process that hands out runs, and that costs them
# what some sixty of them do. The half-second runs of the table above would bend the curve at a few
# hundred workers. Longer runs (a larger net, all folds of a seed in one run) push the bend to the
# right.
#
# What would it cost?

# %%
hours = total_work / 3600
print(f"a run      {100 * seconds / 3600 * DOLLARS:.4f} cents")
print(
    f"full grid  {hours * DOLLARS:.2f} dollars at {DOLLARS} a core hour"
)

# %% [markdown]
# Nets of this size are cheap to train. What is expensive is the number of tries, because with each
# variant in the grid the best one has to be better still before it is believed
# ({ref}`ch-honest-evaluation`). The store helps here too: `summary.tries` counts every run in it,
# also those that nobody asks for today. But it cannot know what was tried elsewhere on the same
# days, and {ref}`ch-verdict` pools three stores for that reason.

# %% [markdown]
# ## What goes wrong
#
# ### Failures that are dropped
#
# Some trainings fail, because a loss becomes infinite, memory runs out, or a file is missing. The
# usual loop says `except: continue`, and the table at the end is an average over the runs that
# lived.
#
# <!-- number: 18 by 1 − 0.82, the bound in the code below -->
# Our second toy fails for a reason, as real ones do: it cannot handle a crash of the market. A run
# whose returns fall by more than 18 % within a month raises an error.

# %%
def fragile(config):
    rng = np.random.default_rng(config["seed"])
    path = np.cumprod(1 + rng.normal(0, 0.02, 250))
    if (path[21:] / path[:-21]).min() < 0.82:
        raise ArithmeticError("the loss is not a number")
    return {"total": float(path[-1] - 1)}


# %%
seeds = grid(seed=range(N_SEEDS))
survivors = []
for config in seeds:
    try:
        survivors.append(fragile(config)["total"])
    except ArithmeticError:
        continue  # the mistake

everyone = [drift(config)["total"] for config in seeds]
print(
    f"survivors  {np.mean(survivors):+.1%} a year, {len(survivors)} "
    "runs"
)
print(
    f"everyone   {np.mean(everyone):+.1%} a year, {len(everyone)} runs"
)

# %% mystnb={"figure": {"caption": "The same forty histories without an edge. A run fails when it meets a deep fall. Most of the great losers are among the failed; leave them out, and the rest looks skilled.", "name": "fig-survivors"}, "image": {"alt": "Dots of forty yearly returns on one line; the failed ones, drawn as crosses, reach from minus 67 to plus 70 percent and hold all but one of the losses below minus 40; the mean of the survivors lies to the right of zero, the mean of all to the left."}}
total, alive = np.array(everyone), np.isin(everyone, survivors)
fig, ax = plt.subplots(figsize=(7, 2.2))
lift = np.random.default_rng(0).uniform(-0.3, 0.3, len(total))
ax.scatter(total[alive], lift[alive], color=UP, label="survived")
ax.scatter(
    total[~alive], lift[~alive], color=DOWN, marker="x", label="failed"
)
ax.axvline(total.mean(), color=NEUTRAL, ls="--", label="mean of all")
ax.axvline(total[alive].mean(), color=UP, label="mean of survivors")
ax.set(xlabel="return of the run", yticks=[], ylim=(-0.5, 1.6))
ax.xaxis.set_major_formatter("{x:.0%}")
ax.legend(ncols=2, loc="upper left")
plt.show()

# %%
assert np.mean(survivors) > np.mean(everyone) + 0.03
assert np.median(total[~alive]) < np.median(total[alive])
assert (total[alive] < -0.4).sum() == 1

# %% [markdown]
# The mean of all lies below zero by chance alone, since no history has an edge. Nobody cheated, but
# the code fails where markets fall, so the runs that are left are those in which markets did
# better. That is {term}`survivorship bias`, and here our own code made it.
#
# The fix has two parts: a failed run is a row like any other, with its traceback, and a table over
# a study with holes is refused.

# %%
toy = Store(folder / "fragile.jsonl", "fragile", {})
report = run(fragile, seeds, toy, say=lambda text: None)
print(report.ran, "ran,", report.failed, "failed and are on record")
try:
    toy.of(seeds)
except StudyError as error:
    print(str(error).splitlines()[0])

# %%
assert report.failed == (~alive).sum()

# %% [markdown]
# ### A run that takes its worker with it
#
# Some failures raise no error: the system kills a process that wants too much memory, and no
# `except` sees it. All we learn is that *a* worker died, not at which run, and when the study is
# started again, it dies at the same place.
#
# Since runs go out in order, the guilty one is among the first that are not back. `run` therefore
# repeats these alone, each in a process of its own, and writes down the one that dies again.

# %%
def hungry(config):
    if config["seed"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does
    return drift(config)


killed = Store(folder / "hungry.jsonl", "hungry", {})
report = run(
    hungry, grid(seed=range(6)), killed, n_jobs=2, say=lambda text: None
)
failed = [
    row["config"] for row in killed.rows() if row["status"] == "failed"
]
print(report.ran, "runs on record; failed:", failed)

# %%
assert failed == [{"seed": 3}]

# %% [markdown]
# ### Data that change half-way
#
# Suppose that a study takes a night and that somebody updates the file of candles before all of its
# runs are done. The rest of the runs then answers another question than the first, and no row looks
# wrong. So the store remembers the sha256 of its data, and will not take a run on others. The same
# holds for the setting, such as the number of epochs, because one name in two tables must not mean
# two things.

# %%
try:
    Store(folder / "toy.jsonl", "toy", {"bars": "def"})
except StudyError as error:
    print(str(error).replace(str(folder), "<folder>"))

# %% [markdown]
# ### A line that was cut short
#
# A full disk or a power cut can leave half a line. To guess what it said would be invention, and to
# skip it silently would drop a run, so the store reports it; `--repair` moves it aside and the run
# is repeated.

# %%
whole = store.path.read_bytes()
store.path.write_bytes(whole[:-30])
try:
    store.rows()
except StudyError as error:
    print(str(error).replace(str(folder), "<folder>"))
mended = Store(store.path, "toy", {"bars": "abc"}, repair=True)
print(len(mended.missing(configs)), "run to repeat")

# %%
assert len(mended.missing(configs)) == 1

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A study is a list on a wall from which workers tear off one strip each, and the table
# is what hangs there at the end. The picture says why order and number of workers should not
# matter, which still has to be tried.
#
# *Proved.* Where the work divides without loss, {prf:ref}`prop-amdahl` bounds what more workers
# bring. Real workers lose time, so that the law is a bound for them too.
#
# *Measured here.* A study of small nets gave the same table on one worker, on two, on a small
# cluster, and on one whose worker was killed. Two workers were less than twice as fast. On
# synthetic returns without any edge, dropping the runs that failed made the rest look better than
# they were.
#
# *Open.* A thousand cores were computed from the law and from timings, and never used. What other
# tries were made on the same days no store can know.
# ```
#
# ## Summary
#
# - A study is a list of run configurations, written down before the first one runs.
# - One appended line a run makes it resumable, and makes failures part of the record.
# - Dropped failures are survivorship bias, because the table then averages only the runs that
#   lived.
# - With one thread and one seed a run, the table is the same on one worker, on two, and on a
#   cluster.
# - The serial part decides how far a study scales; measure it with runs that do nothing.
#
# ## Exercises
#
# ```{exercise} How many workers are enough? ★
# :label: ex-scaling-out-1
# Take the measured serial part of a run, and the mean work of a run of the full grid. At how many
# workers does that study reach half of the speed-up that it could reach at all?
# ```
#
# ```{solution-start} ex-scaling-out-1
# :class: dropdown
# ```

# %%
# T(n) = s + w/n; the most there is to gain is (s + w)/s.
# Half of it: T(n) = 2s, so n = w/s.
each = seconds / serial
limit = (serial + seconds) / serial
reached = (serial + seconds) / (serial + seconds / each)
assert np.isclose(reached, limit / 2)
print(f"about {round(each, -2):.0f} workers")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A study that grows ★★
# :label: ex-scaling-out-2
# A study of two models and two seeds is finished. Add a third seed to its grid and call `run` again
# with the same store. How many runs does the second call make?
# ```
#
# ```{solution-start} ex-scaling-out-2
# :class: dropdown
# ```

# %%
growing = Store(folder / "growing.jsonl", "toy", {})
run(
    drift, grid(model=["a", "b"], seed=range(2)), growing,
    say=lambda text: None,
)
more = run(
    drift, grid(model=["a", "b"], seed=range(3)), growing,
    say=lambda text: None,
)
print(more.ran, "new runs,", more.skipped, "kept")

# %%
assert (more.ran, more.skipped) == (2, 4)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Why not seed by the clock? ★
# :label: ex-scaling-out-3
# Suppose each worker drew its seed from the time of day. Which two promises of this chapter break?
# ```
#
# ```{solution-start} ex-scaling-out-3
# :class: dropdown
# ```
#
# A run could not be repeated, and the tables of two backends would differ. The seed belongs in the
# configuration, where everybody can see it:

# %%
assert drift({"seed": 7}) == drift({"seed": 7})
assert drift({"seed": 7}) != drift({"seed": 8})

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Your own study, resumable ★★★
# :label: ex-scaling-out-own
# Take a loop of your own that runs for an hour or more and write it as a study with a row a
# setting. Kill it in the middle, start it again, and compare with a run that nobody disturbed.
# ```
#
# ```{solution} ex-scaling-out-own
# :class: dropdown
# The tables must be equal, row by row. Where they are not, some draw depended on the order of the
# work instead of on the setting. Derive the seed of each row from its setting, write each row when
# it is done, and let the program print before it starts how long it will take.
# ```
#
# ## Further reading
#
# The paper of {cite:t}`amdahl1967` is only three pages long. The joblib documentation
# {cite:p}`joblib` describes loky; {cite:t}`rocklin2015` is the paper on Dask.
