"""Whether a dataset's volumes are still those whose digests its table holds."""

import contextlib
import json
from pathlib import Path

from m3fm.artifacts import file_digest, write_json
from m3fm.errors import InputError


def check_volumes(dataset: Path) -> None:
    """Raise InputError where a volume is missing, or is another than `series.parquet` says.

    A volume whose size and time of change are those of the last check is not read again: a look at terabytes
    costs a moment. What was seen is kept beside the dataset, in `.NAME.volumes.json`, because it is no part
    of its version; where nothing can be written there, every volume is read.
    """
    import pyarrow.parquet as pq

    record = dataset.with_name(f".{dataset.name}.volumes.json")
    seen = json.loads(record.read_text()) if record.is_file() else {}
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
