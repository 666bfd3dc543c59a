"""Gramian angular fields and Markov transition fields: series as square pictures."""

from setrade.gramian.fields import gadf, gasf, gasf_inverse
from setrade.gramian.transition import transition_field

__all__ = ["gadf", "gasf", "gasf_inverse", "transition_field"]
