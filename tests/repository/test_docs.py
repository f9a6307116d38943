"""The documentation: generated parts equal the code, commands run, links lead somewhere."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml

from m3fm.config.presets import load
from m3fm.transfer.task_file import read as read_task

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from docs.generate import pages  # noqa: E402 (the repository's root must be on the path)
from docs.generate.architecture import svg  # noqa: E402
from docs.generate.commands import leaves, root  # noqa: E402

PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")}
)
READMES = sorted(path for top in ("components", "pipelines") for path in (ROOT / top).rglob("README.md"))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UsageError: Any = typer.BadParameter.__base__
"""Raised by the parser of the command line, and the base of its other errors."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    how: str
    """Empty: run by `make test`; "integration": run with a trained model; "notest: REASON": parsed alone."""
    text: str


def blocks(page: Path) -> list[Block]:
    found = []
    for tag, text in FENCE.findall(page.read_text(encoding="utf-8")):
        language, _, how = tag.partition(" ")
        found.append(Block(page.name, language, how, text))
    return found


ALL = [block for page in [*PAGES, *READMES] for block in blocks(page)]
QUICK = sorted({block.page for block in ALL if block.language in ("sh", "python") and not block.how})
INTEGRATION = sorted({block.page for block in ALL if block.how == "integration"})


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words of each `m3fm` command in a shell script."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.commenters, lexer.wordchars = "#", lexer.wordchars + "@:,$%+"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
                continue
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)
            if words and Path(words[0]).name == "m3fm":
                yield words[1:]
            words = [">"] if ">" in word else []


def faults(command_line: list[str]) -> list[str]:
    """Return what the command line would refuse in a command, if anything."""
    command, name, words = root(), "m3fm", list(command_line)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return [f"no command is called {name}"]
        command = command.commands[name]
    try:
        command.make_context(name, words)
    except UsageError as error:
        return [f"{name}: {error.format_message()}"]
    except typer.Exit:
        return []
    return []


def run(block: Block, where: Path) -> None:
    """Run a block as a reader would, in one directory."""
    python, bash = [sys.executable, "-c"], ["bash", "-euo", "pipefail", "-c"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    for name in ("M3FM_STATE", "M3FM_SALT", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    command = [*(python if block.language == "python" else bash), block.text]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.page}:\n{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_generated_parts_are_those_of_the_code(page):
    text = page.read_text(encoding="utf-8")
    assert text == pages.filled(text), "run `make docs`"


def test_every_generated_block_stands_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in pages.PAGES)
    assert set(pages.BLOCK.findall(text)) == set(pages.BLOCKS)


def test_a_changed_table_is_found():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    changed = page.replace("`140`", "`141`", 1)
    assert pages.filled(changed) == page != changed


def test_the_picture_of_the_layers_is_that_of_the_contract():
    assert pages.PICTURE.read_text(encoding="utf-8") == svg(), "run `make docs`"


def test_every_block_has_a_known_tag():
    for block in ALL:
        known = {"sh": {"", "integration"}, "python": {"", "integration"}, "yaml": {"", "params", "task"}}
        allowed = known.get(block.language, {""} if block.language in ("text", "console", "csv") else set())
        how = block.how.partition("notest: ")
        assert block.how in allowed or (how[1] and how[2]), (block.page, block.language, block.how)


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "sh"], ids=lambda b: f"{b.page}-{b.text[:30]}"
)
def test_commands_parse(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands_in(block.text):
        assert faults(words) == [], " ".join(words)


@pytest.mark.parametrize(
    "text",
    [
        "m3fm plan --unknown 3",
        "M3FM_STATE=x m3fm plan --repeats 0 | head",
        "echo yes && m3fm predct --bundle b",
        "m3fm train dataset",
        "m3fm dataset diff \\\n  a b --sjon > out.json",
        "m3fm --no-such-option",
    ],
)
def test_a_command_that_is_wrong_is_found(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [fault for words in commands_in(text) for fault in faults(words)]


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_in_the_text_exist(page):
    known = {words[1:]: command for words, command in leaves(root())}
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for text in re.findall(r"`m3fm ([^`]+)`", prose):
        words = text.split()
        if words[0].startswith("-"):
            assert faults(words[:1]) == [], text
            continue
        name = next((key for key in known if tuple(words[: len(key)]) == key), None)
        assert name is not None or words == ["dataset"], f"`m3fm {text}`"
        options = {option for parameter in known[name].params for option in parameter.opts} if name else set()
        for word in words:
            assert not word.startswith("--") or word in options | {"--help"}, f"`m3fm {text}`: {word}"


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "python"], ids=lambda b: f"{b.page}-{b.text[:30]}"
)
def test_python_compiles_and_its_imports_exist(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), ast.unparse(node)


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "yaml"], ids=lambda b: f"{b.page}-{b.text[:30]}"
)
def test_configurations_and_task_files_are_accepted(block, tmp_path):
    content = yaml.safe_load(block.text)
    (tmp_path / "file.yaml").write_text(block.text if "preset" in content else f"preset: tiny\n{block.text}")
    if block.how == "params":
        load(tmp_path / "file.yaml")
    elif block.how == "task":
        (tmp_path / "file.yaml").write_text(block.text)
        read_task(tmp_path / "file.yaml")


@pytest.mark.integration
@pytest.mark.parametrize("name", QUICK)
def test_quick_blocks_run(name, tmp_path):
    for block in (block for block in ALL if block.page == name and not block.how):
        if block.language in ("sh", "python"):
            run(block, tmp_path)


PARAMS = """
preset: tiny
simulate: {patients: 8, rows: 48, slices: [64, 64]}
model:
  {width: 24, depth: 1, heads: 2, task_depth: 1, head_width: 8, text: {width: 16, depth: 1, vocabulary: 400}}
pretrain: {optimizer: {steps: 2, warmup: 1, checkpoint_every: 1}, batch: 4, micro_batch: 2}
train:
  optimizer: {steps: 2, warmup: 1, checkpoint_every: 1}
  batch: 1
  micro_batch: 1
  text_micro_batch: 1
  retrieval_batch: 2
evaluate: {resamples: 50}
"""
MAKES = {"start.md": {"bundle", "ct"}, "own-data.md": {"dataset"}}
"""What a page makes itself, of that which the others find in their directory."""


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain with small numbers, as `make demo` leaves it; and a bundle and a CT."""
    where = tmp_path_factory.mktemp("chain")
    (where / "params.yaml").write_text(PARAMS)
    lines = """
        m3fm run screening
        ln -s .m3fm/store/simulate/* SOURCE
        m3fm pull m3fm bundle
        cp -r "$(du -s SOURCE/images/100001/*/* | sort -n | tail -1 | cut -f2)" ct
        ln -s .m3fm/store/curate/* dataset
    """
    run(Block("the chain", "sh", "", lines), where)
    return where


@pytest.mark.slow
@pytest.mark.parametrize("name", INTEGRATION)
def test_blocks_run_after_the_demo(name, chain, tmp_path):
    for given in ("params.yaml", ".m3fm", "SOURCE", "bundle", "ct", "dataset"):
        if given not in MAKES.get(name, set()):
            (tmp_path / given).symlink_to(chain / given)
    session = ""
    for block in (block for block in ALL if block.page == name and block.how in ("", "integration")):
        if block.language == "python":
            session += block.text
            block = block._replace(text=session)
        if block.language in ("sh", "python"):
            run(block, tmp_path)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *READMES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        found = page if not name else (page.parent / name).resolve()
        assert found.exists(), target
        assert not anchor or anchor in _anchors(found), target


def test_pages_that_the_code_names_exist():
    sources = [path for top in ("m3fm", "components", "pipelines") for path in (ROOT / top).rglob("*.py")]
    named = {
        name for path in sources for name in re.findall(r"docs/[\w-]+\.\w+", path.read_text(encoding="utf-8"))
    }
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
