"""Directories that are written whole or not at all, and are known by a digest.

A step of the pipeline hands its successor a reference, `PATH@sha256:DIGEST`. DIGEST is that of the
directory's manifest, a JSON file that holds the SHA-256 of the directory's other files under `files`, so
a reference is cheap to check and a change anywhere in the directory can be found.
"""

import contextlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3fm.core.errors import InputError
from m3fm.core.files import file_digest, read_json, write_json

KINDS = ("cohort", "dataset", "validation", "checkpoint", "evaluation", "finetuning", "bundle")
MANIFESTS = tuple(f"{kind}.json" for kind in KINDS)


@contextlib.contextmanager
def written_whole(out: Path, *, resume: bool = False) -> Iterator[Path]:
    """Yield a hidden directory beside `out` to write into, and rename it to `out` at the end.

    With `resume`, what an interrupted run left there is kept for the caller to go on from; without, it is
    removed first. A failure leaves `out` as it was.
    """
    partial = out.with_name(f".{out.name}.partial")
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def seal(
    directory: Path, manifest: str, content: dict[str, Any], unlisted: Collection[str] = ("volumes",)
) -> None:
    """Write a directory's manifest: `content`, and under `files` the SHA-256 of every file that is there.

    Files in the folders `unlisted` are left out, volumes among them: their digests stand in `series.parquet`,
    which is listed.
    """
    files = {
        path.relative_to(directory).as_posix(): file_digest(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != manifest and path.relative_to(directory).parts[0] not in unlisted
    }
    write_json(directory / manifest, {**content, "files": files})


def manifest_path(directory: Path) -> Path:
    """Find the manifest of an artifact directory."""
    for name in MANIFESTS:
        if (directory / name).is_file():
            return directory / name
    raise InputError(f"{directory} is not a finished m3fm output: it holds none of {', '.join(MANIFESTS)}")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of an artifact directory of any kind."""
    path = manifest_path(directory)
    try:
        manifest = read_json(path)
    except InputError as error:
        raise InputError(f"{path} is damaged: make {directory} again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise InputError(f"{path} is damaged: make {directory} again")
    return manifest


def check_files(directory: Path) -> None:
    """Refuse a directory in which a file is missing or differs from what its manifest says."""
    for name, digest in read_manifest(directory)["files"].items():
        path = directory / name
        if not path.is_file():
            raise InputError(f"{path} is missing: damaged, make {directory} again")
        if file_digest(path) != digest:
            raise InputError(
                f"{path} was changed after it was written: {directory} is damaged, make it again"
            )
    if (directory / "series.parquet").is_file():
        check_volumes(directory)


@dataclass(frozen=True)
class Reference:
    """A directory and the digest of its manifest: how a step names its output to the next."""

    path: Path
    digest: str

    def __str__(self) -> str:
        """Format as `PATH@sha256:DIGEST`."""
        return f"{self.path}@sha256:{self.digest}"

    @classmethod
    def to(cls, path: Path) -> "Reference":
        """Make the reference to a finished directory."""
        return cls(path, file_digest(manifest_path(path)))

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `PATH@sha256:DIGEST`."""
        found = re.fullmatch(r"(.+)@sha256:([0-9a-f]{64})", text)
        if found is None:
            raise InputError(f"{text!r} is not a reference: expected PATH@sha256:DIGEST")
        return cls(Path(found[1]), found[2])

    def resolve(self) -> Path:
        """Return the directory; refuse it where its manifest or a file differs from the reference."""
        found = file_digest(manifest_path(self.path))
        if found != self.digest:
            raise InputError(f"{self.path} has digest {found[:12]}, not {self.digest[:12]}: it was made anew")
        check_files(self.path)
        return self.path


def is_simulated(root: Path) -> bool:
    """Check whether a folder is a cohort that `m3fm simulate` wrote."""
    return (root / "cohort.json").is_file()


def check_volumes(dataset: Path) -> None:
    """Raise InputError where a volume is missing, or is another than `series.parquet` says.

    A volume whose size and time of change are those of the last check is not read again: a look at terabytes
    costs a moment. What was seen is kept beside the dataset, in `.NAME.volumes.json`, outside its version.
    Where nothing can be written there, every volume is read.
    """
    import pyarrow.parquet as pq

    record = dataset.with_name(f".{dataset.name}.volumes.json")
    seen = read_json(record) if record.is_file() else {}
    table = pq.read_table(dataset / "series.parquet", columns=["volume", "digest"])
    found = {}
    for name, digest in zip(table["volume"].to_pylist(), table["digest"].to_pylist()):
        if not name:
            continue
        path = dataset / name
        if not path.is_file():
            raise InputError(f"{path} is missing: damaged, make {dataset} again")
        stat = path.stat()
        found[name] = [stat.st_size, stat.st_mtime_ns, digest]
        if seen.get(name) != found[name] and file_digest(path) != digest:
            raise InputError(f"{path} was changed after it was written: make {dataset} again")
    if found != seen:
        with contextlib.suppress(PermissionError):
            write_json(record, found)
