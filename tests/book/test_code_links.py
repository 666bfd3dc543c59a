"""Names in code lead to the API, and the API shows examples that are run elsewhere."""

from __future__ import annotations

import ast
import re

import code_links
import examples
import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from test_site import HTML, page

ADDRESS = {
    "setrade.costs": "api_costs.html#costs",
    "setrade.costs.Costs": "api_costs.html#costs.Costs",
    "setrade.costs.impact": "api_costs.html#costs.impact",
    "setrade.inference.Predictor": "api_inference.html#P",
    "setrade.inference.Predictor.load": "api_inference.html#P.load",
}
HEAD = "from setrade import costs, inference\nfrom setrade.costs import Costs\n"


def links(code: str) -> list[tuple[str, str]]:
    """Return where each linked name of a page leads, and what is shown as its text."""
    html = highlight(HEAD + code, PythonLexer(), HtmlFormatter())
    made = code_links.linked(html, code_links.meanings([HEAD + code]), ADDRESS)
    assert re.sub("<[^>]*>", "", made) == re.sub("<[^>]*>", "", html), "the code reads as before"
    pairs = re.findall(r'<a class="api" href="([^"]*)">(.*?)</a>', made)
    return [(href, re.sub("<[^>]*>", "", shown)) for href, shown in pairs][3:]  # after HEAD


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x = costs.impact(1, 2, 3)", [("api_costs.html#costs.impact", "costs.impact")]),
        ("inference.Predictor.load('x').net",
         [("api_inference.html#P.load", "inference.Predictor.load")]),
        ("inference.Predictor.other()", [("api_inference.html#P", "inference.Predictor")]),
        ("run(costs=Costs(1))", [("api_costs.html#costs.Costs", "Costs")]),
        ("account.costs.impact()", []),
        ("np.impact(Cost)", []),
        ("'costs.impact'  # costs.impact", []),
    ],
)  # fmt: skip
def test_what_is_linked(code, found):
    assert links(code) == found


@pytest.mark.parametrize(
    "own", ["costs = 3", "def f(costs): return costs.impact", "class costs: 0"]
)
def test_a_page_that_gives_a_name_to_its_own_has_no_link_there(own):
    assert "costs" not in code_links.meanings([HEAD, own])
    assert "Costs" in code_links.meanings([HEAD, own])


def test_calls_are_found_by_the_home_of_their_name():
    tree = ast.parse(HEAD + "Costs(1); inference.Predictor.load(2).predict(costs.impact)")
    found = set(examples.called(tree, examples.imported(tree)))
    assert {"setrade.costs.Costs", "setrade.inference.Predictor.load"} <= found
    assert "setrade.inference.Predictor" in found
    assert "setrade.costs.impact" not in found, "it is named there, and not called"


def test_the_best_example_is_of_a_chapter_without_a_figure_and_short():
    cost = [
        examples.Example(code, page, "tests/test_x.py").cost
        for code, page in (("f(1)", "book/01"), ("f(1)\nf(2)", "book/01"),
                           ("assert f(1)", "book/01"), ("plt.plot(f(1))", "book/01"), ("f(1)", ""))
    ]  # fmt: skip
    assert cost == sorted(cost)
    assert not examples.Example("x\n" * (examples.LINES + 1), "", "").fits
    assert not examples.Example("x" * (examples.WIDTH + 1), "", "").fits


def test_most_of_what_chapters_call_has_an_example_on_the_site():
    shown = examples.examples()
    assert len([name for name in shown if name.count(".") == 2]) > 200
    for name in ("gramian.gasf", "se.SEBlock", "backtest.run", "inference.Predictor"):
        module = name.partition(".")[0]
        entry = page(f"book/generated/api_{module}.html").find(id=f"setrade.{name}").parent
        text = entry.get_text()
        assert re.search(r"Example.*From", text, re.DOTALL), name
        assert shown[f"setrade.{name}"].code.splitlines()[0] in text, name


def test_code_of_a_page_leads_to_the_api():
    found = [a["href"] for a in page("book/08_gramian_fields.html").select(".highlight a.api")]
    assert any(href.endswith("api_gramian.html#setrade.gramian.gasf") for href in found)
    for href in set(found):
        file, _, place = href.partition("#")
        target = (HTML / "book" / file).resolve().relative_to(HTML.resolve())
        assert page(target.as_posix()).find(id=place), href
