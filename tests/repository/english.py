"""What the project's English is held to, checked on the syntax trees: `python tests/repository/english.py`.

Functions begin their docstring with a verb in the imperative; no docstring begins like a fragment ("Of ...");
public functions on arrays name a shape in brackets, as in "[D, H, W]"; nothing says "is no" for "is not a".
"""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("m3fm", "components", "pipelines", "benchmarks")
FRAGMENTS = ("Of ", "That of ", "That ", "Those ", "Where ", "The same")
"""Beginnings of docstrings that are neither a sentence nor the name of a thing."""
QUESTIONS = ("As ", "What ", "Which ", "Whose ", "Whom ", "How ")
"""Beginnings that only the docstrings of attributes and modules may have."""
ARRAYS = re.compile(r"\b(?:NDArray|ndarray|Tensor)\b")
SHAPE = re.compile(r"\[[^\]]+\]|scalar")
VERBS = frozenset(Path(__file__).with_name("verbs.txt").read_text().split())
"""Verbs with which a function's docstring may begin; add one to the file where it is missing."""


def sources() -> Iterator[Path]:
    """Yield every source file that is held to the rules."""
    for folder in CODE:
        yield from sorted(path for path in (ROOT / folder).rglob("*.py") if not path.name.startswith("test_"))


parsed = functools.cache(ast.parse)
"""Syntax tree of a text, made once."""


def tree(path: Path) -> ast.Module:
    """Parse a source."""
    return parsed(path.read_text())


def _place(path: Path, line: int) -> str:
    """Return where a fault is, relative to the repository if it is inside."""
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}"


def fragments(path: Path) -> Iterator[str]:
    """Yield docstrings (of attributes, too) that begin like a fragment."""
    for node in ast.walk(tree(path)):
        body = getattr(node, "body", [])
        for number, part in enumerate(body if isinstance(body, list) else []):
            if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)):
                continue
            text, free = str(part.value.value), number > 0 or isinstance(node, ast.Module)
            if text.startswith(FRAGMENTS if free else FRAGMENTS + QUESTIONS):
                yield f"{_place(path, part.lineno)}: fragment: {text.splitlines()[0]}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method."""
    yield from (n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def without_verb(path: Path) -> Iterator[str]:
    """Yield functions whose docstring does not begin with a verb; properties name what they are."""
    for node in functions(path):
        text = ast.get_docstring(node)
        if text and not _is_property(node) and text.split()[0].strip(",.:;") not in VERBS:
            line = text.splitlines()[0]
            yield f"{_place(path, node.lineno)}: no verb first: {node.name}: {line}"


def without_shape(path: Path) -> Iterator[str]:
    """Yield public functions that take or return arrays and name no shape; an inner one is not public."""
    found = list(functions(path))
    inner = {id(child) for node in found for child in ast.walk(node) if child is not node}
    for node in found:
        if id(node) in inner:
            continue
        text = ast.get_docstring(node) or ""
        variadic = [arg for arg in (node.args.vararg, node.args.kwarg) if arg]
        named = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        given = [arg.annotation for arg in (*named, *variadic) if arg.annotation]
        annotations = [*given, *([node.returns] if node.returns else [])]
        arrays = any(ARRAYS.search(ast.unparse(annotation)) for annotation in annotations)
        if arrays and not node.name.startswith("_") and not SHAPE.search(text):
            yield f"{_place(path, node.lineno)}: no shape: {node.name}"


def is_no(repository: Path = ROOT) -> Iterator[str]:
    """Yield lines of text files, tracked or new, that say "is no" before a noun."""
    words = "is" + " no "
    command = ["git", "-C", str(repository), "grep", "-nI", "--untracked", words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode > 1:
        raise RuntimeError(f"git grep failed: {done.stderr.strip()}")
    yield from done.stdout.splitlines()


RULES = (without_verb, without_shape, fragments)
"""Rules on one source file; `is_no` is the rule on the whole repository."""


def main() -> None:
    """Print every fault below the folders that are named, or all."""
    chosen = tuple(sys.argv[1:])
    counts: dict[str, int] = {}
    for check in RULES:
        found = [fault for path in sources() for fault in check(path)]
        found = [fault for fault in found if not chosen or fault.startswith(chosen)]
        counts[check.__name__] = len(found)
        print("\n".join(found))
    found = [line for line in is_no() if not chosen or line.startswith(chosen)]
    print("\n".join(found))
    print({**counts, "is_no": len(found)})


if __name__ == "__main__":
    main()
