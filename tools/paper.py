"""Print built pages of the site on A4 and name what would be cut.

python tools/paper.py book/03_se_math.html ...   from _build/html into _build/paper

A page with a line of code, a table, a formula or a figure wider than its column is not printed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HTML, PAPER = ROOT / "_build" / "html", ROOT / "_build" / "paper"
WIDTH = 680  # CSS pixels of A4 between margins of 15 mm
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
STYLE = """
.bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .prev-next-footer,
.bd-footer, .copybtn, .headerlink, .move-controls, .toggle-button, #pst-back-to-top,
.quiz-status { display: none !important; }
.bd-article .highlight pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
.bd-article pre { break-inside: auto !important; }
figure, img, svg, tr { break-inside: avoid; }
h1, h2, h3 { break-after: avoid; }
"""
OPEN = """() => {
  document.querySelectorAll("details").forEach(d => d.open = true);
  document.querySelectorAll(".toggle-hidden").forEach(d => d.classList.remove("toggle-hidden"));
}"""
WIDE = """() => [...document.querySelectorAll("pre, table, mjx-container, img, svg.diagram")]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && e.tagName === "PRE"
    || e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => `${e.tagName.toLowerCase()}: ${(e.alt || e.textContent).trim().slice(0, 60)}`)"""


def chromium() -> str:
    """Return the browser that prints, or say what to install."""
    found = (shutil.which(name) for name in ("chromium", "google-chrome", "chrome"))
    if path := next(filter(None, found), None):
        return path
    raise SystemExit("no Chromium found: install chromium or google-chrome")


def printed(browser: Any, source: Path, target: Path) -> list[str]:
    """Print one page; return what would be cut, in which case nothing is written."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
    try:
        # Without its script a quiz shows each question with its answer.
        page.route("**/js/quiz.js*", lambda route: route.abort())
        page.emulate_media(media="print", color_scheme="light")
        page.goto(source.resolve().as_uri())
        page.evaluate("() => window.MathJax?.startup?.promise")
        page.add_style_tag(content=STYLE)
        page.evaluate(OPEN)
        faults = page.evaluate(WIDE)
        if not faults:
            target.parent.mkdir(parents=True, exist_ok=True)
            foot = (
                '<div style="font-size:8px;width:100%;text-align:center" class="pageNumber"></div>'
            )
            margin = dict.fromkeys(("top", "right", "bottom", "left"), "15mm")
            page.pdf(path=target, format="A4", margin=margin, outline=True, tagged=True,
                     display_header_footer=True, header_template="<i></i>",
                     footer_template=foot)  # fmt: skip
        return faults
    finally:
        page.close()


def main() -> int:
    """Print the pages that are named; return 1 if one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", help="addresses below _build/html")
    pages = parser.parse_args().pages
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name in pages:
            target = PAPER / Path(name).with_suffix(".pdf").name
            found += [f"{name}: {fault}" for fault in printed(browser, HTML / name, target)]
        browser.close()
    print("\n".join(found) or f"{len(pages)} pages printed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
