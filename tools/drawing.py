"""Boxes, arrows and strips of cells: the one style of the book's diagrams, as SVG text.

A diagram is 480 units wide, so that its words can still be read on a phone. Its colours are custom
properties: the site's stylesheet sets them for its dark theme, the file itself for a dark system.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 480
STYLE = """\
.diagram{--ink:#1f2933;--soft:#e6ebf1;--line:#52606d;--accent:#0b62a4;--warm:#b34700;--paper:#fff;\
font:14px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.diagram{--ink:#e4e7eb;--soft:#323f4b;--line:#9aa5b1;\
--accent:#6cb6ef;--warm:#f0a35e;--paper:#14181e}}
.diagram text{fill:var(--ink);text-anchor:middle;dominant-baseline:central}
.diagram .left{text-anchor:start}.diagram .small{font-size:12px}.diagram .bold{font-weight:600}
.diagram .box{fill:var(--soft);stroke:var(--line)}.diagram .plain{fill:none;stroke:var(--line)}
.diagram .arrow{fill:none;stroke:var(--ink);stroke-width:1.5}.diagram .head{fill:var(--ink)}
.diagram .dash{fill:none;stroke:var(--line);stroke-dasharray:4 3}
.diagram .accent{fill:var(--accent);stroke:none}.diagram .warm{fill:var(--warm);stroke:none}
.diagram .aline{fill:none;stroke:var(--accent);stroke-width:2}
.diagram .wline{fill:none;stroke:var(--warm);stroke-width:2}
.diagram .paper{fill:var(--paper)}.diagram .cell{stroke:var(--line);stroke-width:.6}
"""


def number(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    return f"{round(value, 1) + 0:g}"


class Drawing:
    """One diagram, drawn from back to front.

    Args:
        name: of the file, and of the ids inside it.
        height: in the units of its width, 480.
        title: what it is, in a few words.
        desc: what it shows, as sentences for those who do not see it.
    """

    def __init__(self, name: str, height: int, title: str, desc: str) -> None:
        self.name, self.height, self.title, self.desc = name, height, title, desc
        self.parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, kind: str, opacity: float = 1) -> None:
        """Draw a rectangle; ``opacity`` is that of its fill."""
        shade = "" if opacity == 1 else f' fill-opacity="{opacity:.2f}"'
        numbers = zip(("x", "y", "width", "height"), (x, y, w, h), strict=True)
        where = " ".join(f'{key}="{number(value)}"' for key, value in numbers)
        self.parts.append(f'<rect class="{kind}" {where} rx="3"{shade}/>')

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Write one line around (x, y), or from it on if ``kind`` has "left"."""
        style = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text{style} x="{number(x)}" y="{number(y)}">{escape(words)}</text>')

    def box(self, x: float, y: float, w: float, h: float, *lines: str, kind: str = "box") -> None:
        """Draw a box with its words: the first line plain, those below small."""
        self.rect(x, y, w, h, kind)
        top = y + h / 2 - 8.5 * (len(lines) - 1)
        for i, line in enumerate(lines):
            self.text(x + w / 2, top + 17 * i, line, "small" if i else "")

    def line(self, *points: tuple[float, float], kind: str = "arrow") -> None:
        """Draw a line through points."""
        way = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self.parts.append(f'<polyline class="{kind}" points="{way}"/>')

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through points with a head at its end; the last leg is straight."""
        (x0, y0), (x, y) = points[-2:]
        size = max(abs(x - x0), abs(y - y0)) or 1.0
        u, v = (x - x0) / size, (y - y0) / size
        self.line(*points[:-1], (x - 6 * u, y - 6 * v))
        head = (
            (x, y),
            (x - 8 * u - 4 * v, y - 8 * v + 4 * u),
            (x - 8 * u + 4 * v, y - 8 * v - 4 * u),
        )
        way = " ".join(f"{number(a)},{number(b)}" for a, b in head)
        self.parts.append(f'<polygon class="head" points="{way}"/>')

    def circle(self, x: float, y: float, r: float, kind: str) -> None:
        """Draw a circle."""
        self.parts.append(
            f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="{number(r)}"/>'
        )

    def sign(self, x: float, y: float, words: str) -> None:
        """Draw an operation, such as × or +, in a circle."""
        self.circle(x, y, 10, "box")
        self.text(x, y, words)

    def cells(
        self, x: float, y: float, side: float, rows: Sequence[Sequence[float]], kind: str = "accent"
    ) -> None:
        """Draw a grid of square cells; each number, from 0 to 1, is a cell's shade."""
        for i, row in enumerate(rows):
            for j, shade in enumerate(row):
                self.rect(x + j * side, y + i * side, side, side, f"{kind} cell", shade)

    def svg(self) -> str:
        """Return the whole file."""
        ids = f"{self.name}-title", f"{self.name}-desc"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" role="img" '
            f'viewBox="0 0 {WIDTH} {self.height}" aria-labelledby="{ids[0]} {ids[1]}">'
        )
        words = (
            f'<title id="{ids[0]}">{escape(self.title)}</title>'
            f'<desc id="{ids[1]}">{escape(self.desc)}</desc>'
        )
        paper = f'<rect class="paper" width="{WIDTH}" height="{self.height}"/>'
        body = "\n".join([head, words, f"<style>\n{STYLE}</style>", paper, *self.parts])
        return body + "\n</svg>\n"
