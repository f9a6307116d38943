"""Checkpoints of a run in progress, on a path or in an S3-compatible store.

Ray Train would keep them, too, but notes which there are in a file that it writes in place: a run that is
killed in that moment cannot be gone on with. Here a checkpoint is known by a file of its own, which is
written last and holds the digests of the others; whatever lacks it, or differs, is not a checkpoint.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, to_json

COMPLETE = "complete.json"
"""The last file of a checkpoint to be written."""


NAME = re.compile(r"step-\d{8}")
"""Names of a checkpoint's folder."""


def without_password(address: str) -> str:
    """Hide the password in an address, or in a text with one."""
    return re.sub(r"//[^/@\s]*@", "//***@", address)


@dataclass(frozen=True, slots=True)
class Found:
    """A complete checkpoint."""

    name: str
    step: int
    score: float | None
    """Mean loss of the validation, if there was one: less is better."""
    about: dict[str, Any]
    """What the run is that it belongs to."""
    files: dict[str, str]
    """SHA-256 of each file."""


class Checkpoints:
    """The checkpoints of one run: the newest ones and the best one are kept."""

    def __init__(self, where: str, keep: int, about: Mapping[str, Any]) -> None:
        """Open the place, a path or a URI as pyarrow reads it; raises InputError where it cannot be read.

        `about` says what the run is, and is written beside every checkpoint.
        """
        self.where, self.keep, self.about = where, keep, dict(about)
        try:
            if "://" in where:
                self._fs, self._root = FileSystem.from_uri(where)
            else:
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(Path(where).absolute())
            self._list()
        except (OSError, ValueError, pyarrow.lib.ArrowInvalid) as error:
            reason = without_password(" ".join(str(error).split()))
            raise InputError(f"checkpoints cannot be kept at {without_password(where)}: {reason}") from error

    def found(self) -> list[Found]:
        """List all complete checkpoints, oldest first."""
        described = [self._described(info) for info in self._list()]
        return sorted((found for found in described if found is not None), key=lambda found: found.step)

    def best(self) -> Found | None:
        """Return the checkpoint with the lowest validation loss; the newest if none was validated."""
        found = self.found()
        scored = [one for one in found if one.score is not None]
        if scored:
            return min(scored, key=lambda one: (one.score, -one.step))
        return found[-1] if found else None

    def fetch(self, found: Found, target: Path) -> bool:
        """Copy a checkpoint's files into a directory; False where one is missing or not what it was."""
        target.mkdir(parents=True, exist_ok=True)
        for name, digest in found.files.items():
            try:
                pyarrow.fs.copy_files(
                    f"{self._root}/{found.name}/{name}",
                    str(target / name),
                    source_filesystem=self._fs,
                    destination_filesystem=pyarrow.fs.LocalFileSystem(),
                )
            except FileNotFoundError:
                return False
            if file_digest(target / name) != digest:
                return False
        return True

    def newest(self, target: Path) -> Found | None:
        """Fetch the newest checkpoint that is sound; None where there is none."""
        for found in reversed(self.found()):
            shutil.rmtree(target, ignore_errors=True)
            if self.fetch(found, target):
                return found
        return None

    def save(self, step: int, score: float | None, write: Callable[[Path], None]) -> None:
        """Add the checkpoint after some steps, which `write` writes into a directory, and remove old ones."""
        name = f"step-{step:08d}"
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            write(directory)
            files = {path.name: file_digest(path) for path in sorted(directory.iterdir())}
            content = to_json({"step": step, "score": score, "about": self.about, "files": files})
            root = f"{self._root}/{name}"
            # What an earlier run left unfinished, or a damaged one, is written anew.
            self._remove(name)
            self._fs.create_dir(root)
            for file in files:
                self._put(directory / file, f"{root}/{file}")
            (directory / COMPLETE).write_text(content)
            self._put(directory / COMPLETE, f"{root}/{COMPLETE}")
        self._prune()

    def clear(self) -> None:
        """Remove all of them, and nothing else that may be there."""
        for info in self._list():
            self._remove(info.base_name)

    def _put(self, source: Path, target: str) -> None:
        local = pyarrow.fs.LocalFileSystem()
        # Several threads at once can hang in uploads to S3 (apache/arrow#32372).
        pyarrow.fs.copy_files(
            str(source),
            target,
            source_filesystem=local,
            destination_filesystem=self._fs,
            use_threads=False,
        )

    def _prune(self) -> None:
        best, found = self.best(), self.found()
        kept = {one.name for one in found[-self.keep :]} | ({best.name} if best else set())
        # What is not complete, a kill has left.
        for info in self._list():
            if info.base_name not in kept:
                self._remove(info.base_name)

    def _remove(self, name: str) -> None:
        """Remove a checkpoint; first the file that makes it one."""
        root = f"{self._root}/{name}"
        if self._fs.get_file_info(f"{root}/{COMPLETE}").type is FileType.File:
            self._fs.delete_file(f"{root}/{COMPLETE}")
        if self._fs.get_file_info(root).type is FileType.Directory:
            self._fs.delete_dir(root)

    def _list(self) -> list[FileInfo]:
        """List the folders that are named as checkpoints are."""
        infos = self._fs.get_file_info(FileSelector(self._root, allow_not_found=True))
        return [info for info in infos if info.type is FileType.Directory and NAME.fullmatch(info.base_name)]

    def _described(self, info: FileInfo) -> Found | None:
        """Read a directory's last file; return None where it is missing or cut."""
        try:
            with self._fs.open_input_stream(f"{info.path}/{COMPLETE}") as file:
                content: dict[str, Any] = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return Found(info.base_name, **content)
