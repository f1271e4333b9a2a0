"""Every example says how it is run, with options that exist and values that are valid."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import flashmd.backmap.adjoint
import flashmd.backmap.training
import flashmd.md
import flashmd.train

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MODULES = sorted(path.relative_to(ROOT) for path in EXAMPLES.rglob("*.py"))
SCRIPTS = [path for path in MODULES if '__name__ == "__main__"' in (ROOT / path).read_text(encoding="utf-8")]
CONFIGURATIONS = sorted(path.relative_to(ROOT) for path in EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_docstring_holds_a_command_line_with_options_that_exist(script: Path) -> None:
    source = (ROOT / script).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    whole = docstring.replace("\\\n", " ")
    lines = [line.strip() for line in whole.splitlines() if line.strip().startswith(f"python {script} ")]
    assert lines, f"the docstring of {script} has no line `python {script} ...`"
    # Scripts of one folder may share options.
    shared = [(ROOT / path).read_text(encoding="utf-8") for path in MODULES if path.parent == script.parent]
    for word in (word for line in lines for word in shlex.split(line) if word.startswith("--")):
        assert any(f'"{word}"' in text for text in [source, *shared]), f"{script} has no option {word}"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=str)
def test_configuration_is_valid_for_the_command_in_its_header(path: Path) -> None:
    found = re.search(rf"^# +flashmd ([\w-]+) {path}$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{path} has no line `#     flashmd COMMAND {path}`"
    readers: dict[str, Callable[[Path], object]] = {
        "train": flashmd.train.load_config,
        "train-backmap": flashmd.backmap.training.load_config,
        "post-train-backmap": flashmd.backmap.adjoint.load_config,
    }
    if found[1] in readers:
        readers[found[1]](ROOT / path)
        return
    assert found[1] == "simulate"
    config = flashmd.md.load_config(ROOT / path)
    absent = [str(file) for file in (config.structure, *config.initial) if not Path(file).is_file()]
    assert absent == []
