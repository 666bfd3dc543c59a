# %% [markdown]
# (ch-candles)=
# # Probe
#
# **Can it?** $x^2$ {cite:p}`hu2018`
#
# ```{admonition} What you will do
# :class: tip
# - derive
# ```
#
# *You need* nothing. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt

from setrade.plots import use_style

use_style()

# %% tags=["parameters"]
N = 3

# %% [markdown]
# ## 1 First
# $$ \int x \, dx $$
# See {numref}`fig-probe`.

# %% mystnb={"figure": {"caption": "A line.", "name": "fig-probe"}, "image": {"alt": "A line that rises from zero to three."}}
fig, ax = plt.subplots()
ax.plot(range(N))
plt.show()

# %% [markdown]
# ```{exercise} Angles by hand
# :label: ex-probe-1
# Compute it.
# ```
#
# ```{solution-start} ex-probe-1
# :class: dropdown
# ```
# %%
assert N == 3
N
# %% [markdown]
# ```{solution-end}
# ```
