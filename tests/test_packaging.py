"""Metadata, pinned versions and imports agree with each other."""

from __future__ import annotations

import ast
import configparser
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flashmd

ROOT = Path(__file__).resolve().parents[1]
# Engines that a user may lack; nothing may import them when a module is merely imported.
OPTIONAL = ("ase", "openmm", "openmmml", "mdtraj", "pymbar", "cupy", "torch_scatter")
LONGEST_FILE, LONGEST_FUNCTION = 400, 40


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def normalised(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_every_dependency_is_pinned() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "a pin is a name and a version, never a place"
    options = setup_cfg()
    wanted = options["options"]["install_requires"].split()
    wanted += [line for extra in options["options.extras_require"].values() for line in extra.split()]
    missing = {normalised(w) for w in wanted} - {normalised(p) for p in pins} - {"flashmd-cg"}
    assert missing == set()


def test_version_stands_once() -> None:
    assert setup_cfg()["metadata"]["version"] == "attr: flashmd.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", flashmd.__version__)


def test_import_needs_no_optional_engine() -> None:
    """Every module imports in a fresh interpreter in which the optional engines cannot be imported.

    The potential of OpenMM-ML is not among them: nothing but OpenMM-ML asks for it. Nor is the calculator, which
    derives from a class of ASE; how it says that ASE is missing has a test of its own.
    """
    names = [
        m.name
        for m in pkgutil.walk_packages(flashmd.__path__, "flashmd.")
        if not m.name.endswith(("__main__", "_kernels", "libOpenMMFlashMD", "ml_potential"))
        and ".interfaces.ase" not in m.name
    ]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout == run.stderr == "", "importing the package is silent"


def sources() -> list[pytest.ParameterSet]:
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in sorted((ROOT / "flashmd").rglob("*.py"))]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its first statement after the docstring."""
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    begin = first.end_lineno + 1 if has_docstring else first.lineno
    return function.end_lineno - begin + 1


@pytest.mark.parametrize("path", sources())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: body_lines(f) for f in functions if body_lines(f) > LONGEST_FUNCTION} == {}
