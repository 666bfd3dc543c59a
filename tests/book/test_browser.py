"""Every page in a real browser: math, console, requests, phone width, dark mode."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading

import moves
import pytest
from test_site import CONTENT, HTML

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.enable_socket,
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    handler = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def context(browser):
    """Return a reader who has seen other pages: styles, scripts and fonts are read once."""
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    yield made
    made.close()


@pytest.fixture
def tab(context, site):
    """Return a page that collects console errors, failed requests and foreign addresses."""
    page = context.new_page()
    page.faults = []
    page.on("console", lambda m: m.type == "error" and page.faults.append(m.text))
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.on("requestfailed", lambda r: page.faults.append(f"failed: {r.url}"))
    page.on("response", lambda r: r.status >= 400 and page.faults.append(f"{r.status} {r.url}"))
    page.on(
        "request",
        lambda r: (
            r.url.startswith(("http:", "https:", "ws:", "wss:"))
            and not r.url.startswith(site)
            and page.faults.append(f"left the site: {r.url}")
        ),
    )
    yield page
    page.close()


def settle(tab) -> None:
    """Wait until all formulas are drawn."""
    tab.wait_for_load_state("load")
    tab.evaluate("() => window.MathJax?.startup?.promise")


CUT = """[...document.querySelectorAll("article .highlight pre")]
    .filter(code => !code.closest(".cell_output") && code.scrollWidth > code.clientWidth + 1)
    .map(code => code.textContent.slice(0, 80))"""


@pytest.mark.parametrize("name", CONTENT)
def test_page_is_clean_rendered_and_fits_a_phone(tab, site, name):
    tab.goto(f"{site}/{name}")
    tab.wait_for_load_state("networkidle")  # whatever a page asks for late is seen too
    settle(tab)
    assert tab.faults == []
    formulas = tab.locator("article .math").count()
    assert tab.locator("article .math mjx-container").count() >= formulas
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    broken = tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
    assert broken == []
    assert tab.evaluate(CUT) == [], "code is cut at 1280 px"
    tab.set_viewport_size({"width": 390, "height": 844})
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{name} scrolls sideways on a phone: {width} px"
    assert tab.evaluate(CUT) == [], "code is cut at 390 px"


def test_dark_mode_changes_the_background(browser, site):
    seen = set()
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(f"{site}/book/intro.html")
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert len(seen) == 2


def test_search_finds_a_term(tab, site):
    tab.goto(f"{site}/search.html?q=squeeze")
    tab.wait_for_selector("#search-results li", timeout=15_000)
    assert tab.faults == []


def test_solutions_are_folded_until_asked_for(tab, site):
    name = next(n for n in CONTENT if n.startswith("book/01_"))
    tab.goto(f"{site}/{name}")
    settle(tab)
    folded = tab.locator("article .solution.dropdown, article .solution.toggle-hidden")
    assert folded.count() >= 2


# ---- Pictures that move.


MOVING = [
    (n, move)
    for n in CONTENT
    for move in re.findall(r'data-move="(\w+)"', (HTML / n).read_text(encoding="utf-8"))
]


def test_every_moving_picture_is_on_the_site_once():
    assert sorted(move for _, move in MOVING) == sorted(moves.DATA)


@pytest.mark.parametrize(("name", "move"), MOVING)
def test_a_picture_moves_by_keys_and_says_so(tab, site, name, move):
    tab.goto(f"{site}/{name}")
    settle(tab)
    place = tab.locator(f"[data-move={move}]")
    said = place.locator("[role=status]")
    before = said.text_content()
    control = place.locator("input").first
    control.focus()
    control.press("End" if control.get_attribute("type") == "range" else "q")
    assert said.text_content() != before
    named = place.locator("input, select").evaluate_all("list => list.map(x => x.labels.length)")
    assert set(named) == {1}, "every control has its label"
    assert tab.faults == []


@pytest.mark.parametrize(("name", "move"), MOVING)
def test_a_picture_stands_still_with_scripts_off(browser, site, name, move):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{name}")
    place = page.locator(f"[data-move={move}]")
    assert place.locator("svg, img").first.bounding_box()["width"] > 100
    assert len(place.inner_text().split()) > 20
    assert page.locator(".move-live").count() == 0
    context.close()


def test_a_pixel_shows_its_two_bars(tab, site):
    name = next(n for n, move in MOVING if move == "gasf")
    tab.goto(f"{site}/{name}")
    settle(tab)
    tab.locator(".move-pixels").click(position={"x": 6 * 40 + 2, "y": 6 * 10 + 2})
    assert "Row 10, column 40" in tab.locator("[data-move=gasf] [role=status]").text_content()


def test_claims_are_filtered_on_the_page(tab, site):
    name = next(n for n, move in MOVING if move == "claims")
    tab.goto(f"{site}/{name}")
    settle(tab)
    rows = tab.locator("#claims td [id^=claim-]")
    every = rows.count()
    assert every == tab.locator(".move-forest li").count() > 100
    tab.locator("label:has(> span:text-is('verdict')) select").select_option("holds")
    shown = tab.locator(".move-forest li").count()
    visible = "list => list.filter(x => x.closest('tr').getClientRects().length).length"
    assert 0 < shown < every
    assert rows.evaluate_all(visible) == shown
