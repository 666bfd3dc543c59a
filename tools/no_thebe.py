"""Sphinx extension: take out sphinx-thebe, which Jupyter Book loads even when it is off.

It names a script on another host and writes its settings twice, an error in every console.
"""

from __future__ import annotations

from typing import Any


def _disconnect(app: Any) -> None:
    """Drop every listener that sphinx-thebe has registered."""
    for listeners in app.events.listeners.values():
        listeners[:] = [x for x in listeners if not x.handler.__module__.startswith("sphinx_thebe")]


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx; last, so that the others have connected by then."""
    app.connect("builder-inited", _disconnect, priority=999)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
