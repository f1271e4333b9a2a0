"""Every code block of README and documentation runs: Python is executed, shell commands must exist, YAML must parse."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from typer.main import get_command

from flashmd.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)])
LANGUAGES = {"python", "bash", "yaml", "text", "bibtex"}
# Programs that a block may call besides make and flashmd.
OTHER_PROGRAMS = {"git", "cd", "pip"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """Fenced blocks of a page; MyST directives such as ```{math}` are not code."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    blocks = [Block(m[1].strip(), m[2], text[: m.start()].count("\n") + 1) for m in found]
    return [block for block in blocks if not block.language.startswith("{")]


def pages_with(language: str) -> list[pytest.ParameterSet]:
    pages = [page for page in PAGES if any(b.language == language for b in blocks_of(page))]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_every_block_names_a_known_language(page: Path) -> None:
    unknown = [(block.line, block.language) for block in blocks_of(page) if block.language not in LANGUAGES]
    assert unknown == []


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in one namespace, in a folder that sees examples/ and data/."""
    for name in ("examples", "data"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    try:
        for block in (b for b in blocks_of(page) if b.language == "python"):
            code = "\n" * block.line + block.text
            exec(compile(code, str(page), "exec"), namespace)
    finally:
        torch.set_default_dtype(torch.float32)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check_flashmd(words: list[str]) -> None:
    """The sub-command and each of its options must exist, and each file of the project that it names."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    if hasattr(commands.get(words[1]), "commands"):
        commands, words = commands[words[1]].commands, words[1:]
    assert words[1] in commands, f"flashmd has no command {words[1]}"
    parameters = commands[words[1]].params
    options = {name for p in parameters for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words[2:]:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"flashmd {words[1]} has no option {word}"
        elif word.startswith(("examples/", "data/")):
            assert (ROOT / word).exists(), f"{word} does not exist"


@pytest.mark.parametrize("page", pages_with("bash"))
def test_shell_commands_exist(page: Path) -> None:
    for block in (b for b in blocks_of(page) if b.language == "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words or words[0] in OTHER_PROGRAMS:
                continue
            assert words[0] in {"make", "flashmd", "python"}, f"{page.name}:{block.line}: unknown program {words[0]}"
            if words[0] == "make":
                assert set(words[1:]) <= make_targets(), f"unknown make target in {line}"
            elif words[0] == "python":
                assert (ROOT / words[1]).is_file(), f"{words[1]} does not exist"
            else:
                check_flashmd(words)


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_yaml_blocks_parse(page: Path) -> None:
    for block in (b for b in blocks_of(page) if b.language == "yaml"):
        assert isinstance(yaml.safe_load(block.text), dict)


def test_links_to_files_lead_somewhere() -> None:
    """Relative links and pictures of README point at files of the project."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", text)
    assert [t for t in targets if not (ROOT / t.split("#")[0]).exists()] == []
