"""Every page can be used without a mouse and read in any light: axe-core finds nothing serious."""

from __future__ import annotations

import pytest
from test_browser import browser, pytestmark, settle, site  # noqa: F401
from test_site import CONTENT, HTML, PAGES

OTHERS = [p for p in PAGES if p in ("index.html", "search.html", "genindex.html", "404.html")]
SOURCE = [p for p in PAGES if p.startswith("_modules/setrade/")][:1]  # they are all alike
WAYS = {"wide": (1280, 900, "light"), "phone": (390, 844, "light"), "dark": (1280, 900, "dark")}
# Most elements of a page are the words of its code and the letters of its formulas, whose colours
# are the same everywhere, and hidden ones axe walks through too. The pages in `CODE` are looked at
# as they are; on others code is plain text, a formula a letter in a box of its width, and contrast
# is measured once for all text of one colour, size and weight on one ground.
CODE = [next(p for p in CONTENT if p.startswith(f"book/{n}")) for n in ("03_", "generated/api_c")]
PLAIN = """() => {
    const code = document.querySelectorAll(".highlight pre, dt.sig > :not(a)");
    code.forEach(e => e.textContent += "");
    for (const e of document.querySelectorAll("mjx-container")) {
        const box = document.createElement("span");
        box.textContent = "x";
        box.style.cssText = `display: inline-block; width: ${e.getBoundingClientRect().width}px`;
        e.replaceWith(box);
    }
}"""
ONE_OF_EACH = """() => {
    const below = e => {  // all that text is seen on and through, down to what hides the rest
        const layers = [];
        let opaque = false, opacity = 1;
        for (; e; e = e.parentElement) {
            const s = getComputedStyle(e);
            opacity *= s.opacity;
            if (opaque) continue;
            layers.push(s.backgroundColor, s.backgroundImage);
            opaque = s.backgroundColor.startsWith("rgb(");
        }
        return [opacity, ...layers.filter(x => !["none", "rgba(0, 0, 0, 0)"].includes(x))];
    };
    const kinds = new Set();
    for (const e of document.body.querySelectorAll("*")) {
        delete e.dataset.kind;
        if (![...e.childNodes].some(x => x.nodeType === 3 && x.textContent.trim())) continue;
        const s = getComputedStyle(e);
        const kind = [s.color, s.fontSize, s.fontWeight, s.visibility, s.textShadow,
                      e.getClientRects().length > 0, below(e)].join();
        if (!kinds.has(kind)) e.dataset.kind = "";
        kinds.add(kind);
    }
}"""
ALL: dict = {}
COLOURS = {"runOnly": ["color-contrast"]}
REST = {"rules": {"color-contrast": {"enabled": False}}}
# What of a page's own depends on its width: what scrolls, what is small, what is out of sight.
WIDTH = {"runOnly": ["scrollable-region-focusable", "target-size", "aria-hidden-focus"]}


def faults(page, rules: dict, where: str = "html") -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"]} | rules
    found = Axe().run(page, context=where, options=options).response["violations"]
    return [
        f"{rule['impact']} {rule['id']}: {node['html'][:120]} ({node.get('failureSummary')})"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def colours(page) -> list[str]:
    """Return the faults of contrast, each kind of text looked at once."""
    page.evaluate(ONE_OF_EACH)
    return faults(page, COLOURS, "[data-kind]")


def turned(page, way: str):
    """Return the page as it is seen in one way; the theme follows the system, boxes their size."""
    width, height, scheme = WAYS[way]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    # The theme's own listener turns the page, on a busy machine some time after the system did.
    shows = "scheme => [scheme, undefined].includes(document.documentElement.dataset.theme)"
    page.wait_for_function(shows, arg=scheme)  # undefined: 404.html stands alone
    page.wait_for_function("width => innerWidth === width", arg=width)
    for _ in range(2):  # in one frame the page is laid out anew, in the next all have seen it
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return page


@pytest.fixture(scope="module")
def reader(browser):  # noqa: F811
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(120_000)  # axe takes seconds a page, on a busy machine many
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", [*CONTENT, *OTHERS, *SOURCE])
def test_nothing_serious(reader, site, name):  # noqa: F811
    turned(reader, "wide").goto(f"{site}/{name}")
    if name == "index.html":  # which sends its reader on
        reader.wait_for_url("**/book/intro.html")
    settle(reader)
    if name in CODE:
        found = {way: faults(turned(reader, way), ALL) for way in WAYS}
    else:
        reader.evaluate(PLAIN)
        found = {
            "wide": faults(reader, REST) + colours(reader),
            "phone": faults(turned(reader, "phone"), WIDTH),
            "dark": colours(turned(reader, "dark")),
        }
    assert not any(found.values()), found


def test_a_box_can_be_reached_once_what_it_holds_has_grown(reader):
    """As a formula does whose font comes late: no window is turned, and nothing else tells."""
    reader.goto("about:blank")
    held = '<span style="display:inline-block">x</span>'
    reader.set_content(f'<div class="output" style="overflow:auto;width:60px">{held}</div>')
    reader.add_script_tag(path=HTML / "_static" / "js" / "reach.js")
    assert reader.locator(".output").get_attribute("tabindex") is None
    reader.locator("span").evaluate("e => e.style.width = '200px'")
    reader.wait_for_selector(".output[tabindex='0']", timeout=5_000)
    reader.locator("span").evaluate("e => e.style.width = '20px'")
    reader.wait_for_selector(".output:not([tabindex])", timeout=5_000)


def test_what_is_wrong_is_found(reader, site):  # noqa: F811
    reader.goto(f"{site}/{CODE[0]}")
    settle(reader)
    faint = "e => e.innerHTML = '<p style=color:#888;background:#999>faint</p>'"
    veiled = "e => e.innerHTML = '<p>one<div style=opacity:.3><p>two</div>'"
    tinted = "e => e.innerHTML = '<p>one<div style=background:#0008><p>two</div>'"
    cut = "e => e.innerHTML = '<div style=overflow:auto;height:9px><p>one<p>two<p>three</div>'"
    for spoil, look, rule in (
        ("e => e.append(document.createElement('button'))", ALL, "button-name"),
        ("e => e.append(document.createElement('button'))", REST, "button-name"),
        (faint, COLOURS, "color-contrast"),
        (faint, None, "color-contrast"),
        (veiled, None, "color-contrast"),
        (tinted, None, "color-contrast"),
        (cut, WIDTH, "scrollable-region-focusable"),
    ):
        turned(reader, "wide").locator("article").first.evaluate(spoil)
        found = faults(reader, look) if look is not None else colours(reader)
        assert any(rule in fault for fault in found), rule
