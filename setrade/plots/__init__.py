"""One style for every figure of the book; the figures themselves are one module a topic.

Colours are the Okabe-Ito set, which survives the common kinds of colour blindness. Up is
blue and filled from the left of the spectrum, down is vermilion; where it matters a shape or
a hatch says it again, so that nothing is told by colour alone.
"""

from __future__ import annotations

from importlib.resources import as_file, files

__all__ = ["CLASS_COLOURS", "DOWN", "NEUTRAL", "UP", "use_style"]

UP, DOWN, NEUTRAL = "#0072B2", "#D55E00", "#7F7F7F"
CLASS_COLOURS = (DOWN, NEUTRAL, UP)  # 0 sell, 1 hold, 2 buy


def use_style() -> None:
    """Apply the book's Matplotlib style and sharp, small PNG figures in notebooks."""
    import matplotlib.pyplot as plt

    with as_file(files("setrade.plots") / "book.mplstyle") as style:
        plt.style.use(style)
