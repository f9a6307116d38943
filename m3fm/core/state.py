"""The state directory of a run: everything that m3fm and the tools below it write lies in it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from m3fm.core import telemetry
from m3fm.core.errors import InputError
from m3fm.core.files import lock


@dataclass(frozen=True)
class State:
    """The state directory of a run, and what is where in it."""

    root: Path

    def __post_init__(self) -> None:
        """Make the path absolute, as other processes get it, and refuse one that addresses cannot hold."""
        object.__setattr__(self, "root", self.root.absolute())
        if found := sorted(set(str(self.root)) & set("?#%")):
            raise InputError(
                f"{self.root} holds {' '.join(found)}, and is part of addresses: give another --state"
            )

    @classmethod
    def default(cls) -> "State":
        """Return `$M3FM_STATE`, or `.m3fm` in the current directory."""
        return cls(Path(os.environ.get("M3FM_STATE", ".m3fm")))

    @property
    def store(self) -> Path:
        """Outputs of the pipeline's steps; a DVC repository, which holds the versions of the datasets."""
        return self.root / "store"

    @property
    def failure(self) -> Path:
        """Why the last run failed; not there while none has."""
        return self.store / "failure.json"

    def settings(self) -> dict[str, str]:
        """Return environment variables that keep tools inside the directory, and off the network."""
        cache, config = self.root / "home" / "cache", self.root / "home" / "config"
        return {
            "XDG_CACHE_HOME": str(cache),
            "XDG_CONFIG_HOME": str(config),
            "XDG_DATA_HOME": str(self.root / "home" / "data"),
            "TMPDIR": str(self.root / "tmp"),
            "MPLCONFIGDIR": str(config / "matplotlib"),
            "HF_HOME": str(cache / "huggingface"),
            "TORCH_HOME": str(cache / "torch"),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
            "DVC_GLOBAL_CONFIG_DIR": str(config / "dvc"),
            "DVC_SYSTEM_CONFIG_DIR": str(config / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(cache / "dvc"),
            "PYTHONUTF8": "1",
            "HF_HUB_OFFLINE": "1",
            **telemetry.OFF,
        }

    def enter(self) -> None:
        """Make the directory, and set what the user's environment leaves open."""
        for folder in (self.store, self.root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        for name, value in self.settings().items():
            os.environ.setdefault(name, value)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one run; raise InputError when another run holds it."""

        def refuse(process: str) -> None:
            raise InputError(
                f"{self.root} is in use by process {process}: wait for it to end, or give this run"
                " another directory with --state"
            )

        with lock(self.root / "lock", refuse):
            yield


def main() -> None:
    """Run a command that writes into the state directory only: `python -m m3fm.core.state COMMAND ...`."""
    State.default().enter()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
