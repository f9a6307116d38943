"""Progress of long work: a bar in a terminal, a line now and then in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
"""Called with how much is done, and a note such as "12 kept, 3 rejected"."""

LINE_SECONDS = 10.0
"""How often a log gets a line."""


@contextlib.contextmanager
def tracked(what: str, total: int) -> Iterator[Advance]:
    """Show how far some work of `total` parts is; yields the function that reports it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        bar = progress.add_task(what, total=total, note="")
        yield lambda done, note: progress.update(bar, completed=done, note=note)


def _lines(what: str, total: int) -> Advance:
    shown = time.monotonic()
    first: tuple[int, float] | None = None

    def advance(done: int, note: str) -> None:
        nonlocal shown, first
        now = time.monotonic()
        # Neither what an earlier run has done nor the time to start up shows how fast the work goes.
        first = first or (done, now)
        if now - shown < LINE_SECONDS and done < total:
            return
        shown = now
        left = (now - first[1]) / max(done - first[0], 1) * (total - done)
        parts = [f"{what} {done}/{total}", note, f"{left:.0f} s left" if first[0] < done < total else ""]
        print("   " + ", ".join(part for part in parts if part), file=sys.stderr, flush=True)

    return advance
