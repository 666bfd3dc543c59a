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


def test_each_chapter_and_section_stands_once_and_holds_its_rows():
    page = claims_page.page()
    chapters = re.findall(r"^## .*", page, re.M)
    assert chapters == ["## The SE chapter", "## The EfficientNet chapter"]
    for part in page.split("\n## ")[1:]:
        sections = re.findall(r"^### .*", part, re.M)
        assert len(sections) == len(set(sections)) > 5
    rows = claims_page.claims.ledger()
    assert all(page.count(f'id="claim-{row.id}"') == 1 for row in rows)
