"""Sphinx extension: what only a published site has, and the page for addresses that lead nowhere.

The repository that publishes is known while it builds: GitHub's runners say it in
``GITHUB_REPOSITORY``. A book that is built elsewhere shows no button that leads to it, for no
address can be known to exist.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from typing import Any

from setrade.files import write_atomic

LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}
LOST = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page: {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 36rem; margin: 15vh auto; padding: 0 1rem;
  font: 1.1rem/1.5 system-ui, sans-serif;
  color: light-dark(#14181e, #e4e7eb); background: light-dark(#fff, #121212); }}
a {{ color: light-dark(#0b62a4, #7fb0f5); }}
input, button {{ font: inherit; padding: 0.2rem 0.5rem; }}
</style>
</head>
<body>
<main>
<h1>There is no page at this address</h1>
<p>A chapter may have moved. <a href="{home}index.html">{title}</a> begins with its table of
contents; the search knows every page.</p>
<form action="{home}search.html" role="search">
<label>Words to look for <input type="search" name="q"></label> <button>Search</button>
</form>
</main>
</body>
</html>
"""


def repository() -> str:
    """Return «owner/name» of the repository that publishes this build; nothing if none does."""
    name = os.environ.get("GITHUB_REPOSITORY", "")
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""


def home(name: str) -> str:
    """Return where GitHub puts the site of a repository: below its name, or at the root."""
    owner, _, project = name.partition("/")
    if not project:
        return ""
    return "/" if project.lower() == f"{owner.lower()}.github.io" else f"/{project}/"


def _configure(_app: Any, config: Any) -> None:
    """Name the repository, and the places that run its notebooks, where it is known."""
    if name := repository():
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{name}",
            "repository_branch": os.environ.get("GITHUB_REF_NAME", "main"),
            "use_repository_button": True,
            "launch_buttons": LAUNCH,
        }


def _lost(app: Any, error: Exception | None) -> None:
    """Write 404.html, which stands alone: it is shown at any depth of addresses."""
    if error is None and app.builder.name == "html":
        page = LOST.format(
            title=escape(app.config.html_title or "The book"), home=home(repository())
        )
        write_atomic(Path(app.outdir, "404.html"), page)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", _configure, priority=900)
    app.connect("build-finished", _lost)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
