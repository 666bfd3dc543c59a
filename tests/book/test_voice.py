"""Sentences carry their reasons: not too many short ones, over the book and in each chapter."""

from __future__ import annotations

import pytest
import voice


def test_the_book_is_not_staccato():
    texts = [text for name in voice.pages() for text in voice.sentences(name)]
    _, median, short = voice.length(texts)
    low, high = voice.MEDIAN
    assert low <= median <= high
    assert short < voice.SHARE


def test_what_is_prose_and_what_is_not(monkeypatch):
    page = """\
# A heading of one kind

We add. The sum of two means is a mean
only where $n$ is the same, e.g. here (as in section 2).

- a list is no prose at all.

| a | table |
|---|---|

$$x = 1$$

```{exercise} By hand ★
:label: ex-one
Add 1.5 and 2 without a computer, and say why.
```

```{prf:definition} Sum of many things
:label: def-sum

By {prf:ref}`prop-2` the **sum** of $a$ and $b$ is $a + b$.
```
"""
    monkeypatch.setattr(voice.reading, "cells", lambda _: [("markdown", page), ("code", "x = 1.")])
    found = voice.sentences("any")
    assert [voice.words(text) for text in found] == [2, 19, 10, 10]


@pytest.mark.parametrize("counts", [[3, 9, 20, 14], [6, 7]])
def test_length(counts):
    found = voice.length([" ".join(["word"] * n) + "." for n in counts])
    assert found.sentences == len(counts)
    assert found.short == sum(n < voice.FEW for n in counts) / len(counts)
