"""A page on paper: it is printed whole, or what would be cut is named."""

from __future__ import annotations

import paper
import pytest
from test_browser import CHROMIUM, browser  # noqa: F401  a fixture

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.enable_socket,
]


def page(folder, body: str):
    """Write a page and return where it is."""
    path = folder / "page.html"
    path.write_text(f"<!DOCTYPE html><title>t</title>{body}", encoding="utf-8")
    return path


def test_a_page_that_fits_is_printed(browser, tmp_path):  # noqa: F811
    source = page(tmp_path, "<h1>One</h1><pre>x = 1</pre>")
    assert paper.printed(browser, source, tmp_path / "page.pdf") == []
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    "body", ["<pre>" + "x" * 400 + "</pre>", "<table><tr><td>" + "x" * 400 + "</table>"]
)
def test_what_is_too_wide_is_named_and_not_printed(browser, tmp_path, body):  # noqa: F811
    assert len(paper.printed(browser, page(tmp_path, body), tmp_path / "page.pdf")) == 1
    assert not (tmp_path / "page.pdf").exists()
