"""Numbers on the page of claims are written for readers."""

from __future__ import annotations

import re

import claims_page
import pytest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.0, "0"),
        (0.000425, "4.25 · 10⁻⁴"),
        (-2e-5, "−2 · 10⁻⁵"),
        (0.001, "0.001"),
        (-1.5, "−1.5"),
        (0.01234, "0.0123"),
        (999.4, "999"),
        (12_345.6, "12,346"),
    ],
)
def test_a_number_has_few_digits_and_no_computer_notation(value, shown):
    assert claims_page.number(value) == shown


def test_no_row_shows_computer_notation():
    assert not re.findall(r"\d\.?\d*e[+-]\d+", claims_page.page())
