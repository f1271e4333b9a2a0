"""Configuration of the documentation (Sphinx with furo and MyST)."""

from __future__ import annotations

import flashmd

project = "flashmd"
author = "the flashmd authors"
copyright = "2026, the flashmd authors"
release = version = flashmd.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
# An annotation that names an optional package is read without modules, and a class that a package exports is then found
# twice: both are the same.
suppress_warnings = ["ref.python"]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"flashmd {version}"
html_static_path = ["_static"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False


def _rows_of(table: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table]


def tables_to_rst(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn the Markdown tables of docstrings (equation to variable) into list-tables, which docutils reads."""
    out: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.strip().startswith("|") and line.strip().endswith("|"):
            table.append(line)
            continue
        if len(table) > 1:
            indent = " " * (len(table[0]) - len(table[0].lstrip()))
            head, _, *body = _rows_of(table)
            out += ["", f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
            for row in (head, *body):
                out += [f"{indent}   {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)]
            out.append("")
        else:
            out += table
        table = []
        out.append(line)
    lines[:] = out[:-1]


def setup(app: object) -> None:
    """Register the hook above."""
    app.connect("autodoc-process-docstring", tables_to_rst)  # type: ignore[attr-defined]
