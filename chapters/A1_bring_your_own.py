# %% [markdown]
# (ch-bring-your-own)=
# # Bring your own candles
#
# **You have a file of bars. How do you get from there to a first result that you may believe?**
#
# ```{admonition} What you will do
# :class: tip
# - read a messy file and let it be refused
# - mend it by rules that you can state
# - compute channels, windows and a first gate
# - run a first backtest with costs, and put an interval around it
# ```
#
# *You need* {ref}`ch-candles`; the later steps are explained in {ref}`ch-channels`,
# {ref}`ch-se-math`, {ref}`ch-backtesting` and {ref}`ch-honest-evaluation`.
# *Runs* in under 25 s on two cores.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from setrade import backtest, candles, channels, evidence, se
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.plots import candles as figures

use_style()

# %% tags=["parameters"]
N_BARS = 5_000  # bars of the file that we pretend you have
LENGTH = 60  # bars in a window

# %% [markdown]
# ## 1 The file
#
# In your copy of this notebook, put the path of your file here and skip this section. So that
# the page runs anywhere, we write a file first, as an exchange would hand it out: newest bar
# first, times in milliseconds. Then we spoil it in five places.

# %%
good = candles.sample().iloc[:N_BARS]
dump = good.assign(start=good.index.as_unit("ms").asi8).reset_index(drop=True)
dump["low"] = dump["low"].astype(object)
dump.loc[700, "low"] = 0  # a glitch
dump.loc[1500, "volume"] = np.nan  # an empty cell
dump = dump.drop(2500)  # a bar lost
dump = pd.concat([dump, dump.iloc[[3000]]])  # a bar sent twice
dump.iloc[-2, dump.columns.get_loc("close")] *= 1.001  # and one still forming
dump = dump.sort_values("start", ascending=False)

folder = Path(TemporaryDirectory(delete=False).name) if False else None
