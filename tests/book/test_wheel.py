"""The package as others get it: a wheel in an environment of its own, far from the checkout."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from provenance import BOOK, ROOT

pytestmark = pytest.mark.slow
CHAPTERS = ("03_se_math", "19_verdict", "21_fast_inference")  # results, the ledger, checkpoints
EXECUTE = "#!{}\nfrom nbclient.cli import main\n\nmain()\n"  # what Jupyter installs for it
CLEAN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "JUPYTER_PATH", "IPYTHONDIR"}


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, encoding="utf-8", **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist, and the wheel that was built from it, with nothing downloaded."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    """A new environment: the wheel, and the dependencies of this one through a ``.pth`` file.

    An editable ``setrade`` of this one works through a ``.pth`` too, which is not read there.
    """
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, symlinks=os.name != "nt")
    python = home / "bin" / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel
    )
    (site,) = home.glob("lib/python*/site-packages")
    here = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    script = python.with_name("jupyter-execute")
    script.write_text(EXECUTE.format(python), encoding="utf-8")
    script.chmod(0o755)
    run(python, "-m", "ipykernel", "install", "--sys-prefix", env=surroundings(home))
    return home


def surroundings(home: Path) -> dict[str, str]:
    """Return environment variables that lead to nothing but the fresh environment."""
    own = {key: value for key, value in os.environ.items() if key not in CLEAN}
    own |= {"HOME": str(home), "JUPYTER_PREFER_ENV_PATH": "1", "TQDM_DISABLE": "1"}
    return own | {"PATH": f"{home / 'bin'}{os.pathsep}{os.defpath}"}


def test_both_are_fit_for_an_index(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(built.iterdir()))


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"setrade"}
    wanted = {f"setrade/_book/results/{p.name}" for p in (BOOK / "results").glob("*.json")}
    for pattern in ("*.py", "*.mplstyle", "*.html", "checkpoints/*"):
        found = (ROOT / "setrade").rglob(pattern)
        wanted |= {p.relative_to(ROOT).as_posix() for p in found if "__pycache__" not in p.parts}
    wanted |= {"setrade/_book/claims.yml"}
    assert {name for name in names if not name.startswith("setrade-")} == wanted


def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
    text = archive.read(name)
    about = Metadata.from_email(text)
    assert (about.license_expression, about.license_files) == ("MIT", ["LICENSE"])
    assert str(about.requires_python) == ">=3.11"
    found = re.findall(r"Programming Language :: Python :: (3\.\d+)", str(about.classifiers))
    assert found == ["3.11", "3.12", "3.13"]
    assert about.author or about.author_email
    assert email.message_from_bytes(text)["Description-Content-Type"] == "text/markdown"
    extras = {"cpu", "gpu", "book", "test", "bench", "cluster", "rl"}
    assert extras == set(about.provides_extra or [])


def test_one_onnx_runtime_comes_by_its_extra_and_none_without(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
    needs = Metadata.from_email(archive.read(name)).requires_dist or []
    wanted = {"": [], "cpu": ["onnxruntime"], "gpu": ["onnxruntime-gpu"]}

    def runtimes(extra: str) -> list[str]:
        asked = [n for n in needs if n.name.startswith("onnxruntime")]
        return [n.name for n in asked if n.marker is None or n.marker.evaluate({"extra": extra})]

    assert {extra: runtimes(extra) for extra in wanted} == wanted
    assert not any(n.name == "ray" for n in map(Requirement, map(str, needs)))


USE = """
import sys
from pathlib import Path
import setrade
from setrade import inference, plots, results
from setrade.evidence import claims

prefix = Path(sys.prefix).resolve()
assert prefix in Path(setrade.__file__).resolve().parents, setrade.__file__
assert sys.argv[1] not in sys.path, sys.path
package = Path(setrade.__file__).parent
before = sorted(package.rglob("*.json"))
plots.use_style()
inference.Predictor.load("se_trader")
rows = claims.ledger()
assert any(row.needs_checkout for row in rows)
came = results.load("se_real")
path = results.save("se_real", {"mine": 1}, command="python mine.py", seed=0, seconds=1.0)
assert path.resolve() == Path.cwd() / "results" / "se_real.json", path
assert results.load("se_real")["results"] == {"mine": 1} != came["results"]
assert sorted(package.rglob("*.json")) == before
print(len(rows))
"""


def test_an_installed_copy_finds_its_data_and_saves_where_it_is_used(fresh, tmp_path):
    options = {"cwd": tmp_path, "env": surroundings(fresh)}
    done = run(fresh / "bin" / "python", "-c", USE, ROOT, **options)
    assert int(done.stdout) >= 45


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_runs_in_plain_jupyter_in_an_empty_folder(fresh, tmp_path, chapter):
    notebook = shutil.copy(BOOK / f"{chapter}.ipynb", tmp_path)
    options = {"cwd": tmp_path, "env": surroundings(fresh)}
    run(fresh / "bin" / "python", "-m", "jupyter", "execute", Path(notebook).name, **options)
