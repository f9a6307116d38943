"""Files: digests, JSON and YAML as they are read and written everywhere, and one lock."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from m3fm.core.errors import InputError


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return one SHA-256 for the names and contents of all files below a folder."""
    lines = [
        f"{path.relative_to(folder).as_posix()} {file_digest(path)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return text_digest("\n".join(lines))


def files_below(root: Path) -> Iterator[Path]:
    """Yield every file below a folder once, in a fixed order, without listing the whole tree first.

    Symbolic links are followed after all else; one to a folder that holds the link is a loop, and ends there.
    Broken links are yielded, too: nothing is left out. Raises InputError where a folder cannot be read.
    """
    folders, links, to_files = set[Path](), list[Path](), dict[Path, Path]()
    yield from _files_below(root, folders, links)
    for link in links:  # grows while it is gone through
        real = Path(os.path.realpath(link))
        if not os.path.exists(link):
            yield link
        elif os.path.isfile(link):
            to_files.setdefault(real, link)
        elif not any(Path(os.path.realpath(holder)).is_relative_to(real) for holder in (root, link.parent)):
            yield from _files_below(link, folders, links)
    yield from (link for real, link in to_files.items() if real.parent not in folders)


def _files_below(root: Path, folders: set[Path], links: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder that is not in `folders`; add what is gone through, and the links."""
    real = Path(os.path.realpath(root))
    if real in folders:
        return
    folders.add(real)
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"the folder {root} cannot be read: {error.strerror}; make it readable") from error
    links += (Path(entry.path) for entry in entries if entry.is_symlink())
    yield from (Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), folders, links)


def to_json(value: Any) -> str:
    """Format a value as JSON: sorted keys, two spaces, a newline at the end; NaN is an error."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(to_json(value), encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; raise InputError that names the file where it cannot be read or repeats a key."""
    return _parsed(path, "JSON", lambda text: json.loads(text, object_pairs_hook=_without_repeats))


def read_yaml(path: Path, *, as_text: bool = False) -> Any:
    """Read a YAML file; raise InputError that names the file where it cannot be read or repeats a key.

    With `as_text` every scalar stays the text that it is: yes stays yes, and 1 stays 1.
    """
    import yaml

    class Loader(yaml.BaseLoader if as_text else yaml.SafeLoader):  # type: ignore[misc]
        """A loader that refuses a key which stands twice."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        if not as_text:  # merge keys (<<) are a feature of typed YAML
            loader.flatten_mapping(node)
        pairs = [(loader.construct_object(key, deep=True), value) for key, value in node.value]
        return _without_repeats([(key, loader.construct_object(value, deep=True)) for key, value in pairs])

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return _parsed(path, "YAML", lambda text: yaml.load(text, Loader))


def _without_repeats(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a dict of key and value pairs; raise ValueError where a key stands twice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice: leave one of them")
        found[key] = value
    return found


def _parsed(path: Path, kind: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # json raises ValueError, yaml errors of its own
        raise InputError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def lock(path: Path, when_held: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock file until the block ends; it is the kernel's, and ends with its process however that ends.

    Where another process holds it, `when_held` is called with that process's number: it may raise, and
    otherwise the lock is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            when_held(file.read())
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
