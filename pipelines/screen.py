"""What a user sees of a local run: which step is at work, its progress and time. The rest is in a log."""

import io
import re
import time
from dataclasses import dataclass
from typing import TextIO

STEP_LINE = re.compile(r"m3fm: (\w+): (.*)")
"""What `m3fm.pipeline.steps` says."""
PROGRESS = re.compile(r" *[A-Za-z][\w ]* \d+/\d+\b.*")
"""How far a step is: `WHAT DONE/TOTAL`, and more (`m3fm.core.progress`)."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RAY_WORKER = re.compile(r"^\(\w+ pid=\d+(, ip=[\d.]+)?\) ")
INDENT = " " * 4
"""Indentation that Kubeflow's runner puts before a step's lines."""
WIDTH = 100
"""Characters of a line that are shown."""


@dataclass
class StepRun:
    """A step of a run: its time, and whether its output was reused."""

    name: str
    seconds: float = 0.0
    reused: bool = False


class Screen(io.TextIOBase):
    """Takes everything that a run prints: shows the user's part of it, and keeps the rest in a log."""

    def __init__(self, steps: list[str], out: TextIO, log: TextIO) -> None:
        self.steps, self.out, self.log = steps, out, log
        self.runs: dict[str, StepRun] = {}
        self.current = ""
        self._began = time.monotonic()
        self._pending = ""
        self._transient = False

    def write(self, text: str) -> int:
        """Take text; whole lines of it are shown or logged."""
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._take(ESCAPES.sub("", line).rstrip())
        return len(text)

    def flush(self) -> None:
        """Do nothing: no text is held back."""

    def isatty(self) -> bool:
        """Return False: what is printed here does not go to a terminal directly."""
        return False

    def show(self, step: str, what: str, *, transient: bool = False) -> None:
        """Show a line with the minutes since the start; a transient one is overwritten by the next."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        start = "\r\x1b[K" if self._transient else ""
        self._transient = transient and self.out.isatty()
        end = "" if self._transient else "\n"
        self.out.write(f"{start}{minutes:3d}:{seconds:02d}  {step:<9} {what[:WIDTH]}{end}")
        self.out.flush()

    def close(self) -> None:
        """End the last line."""
        if self._transient:
            self.out.write("\n")
        super().close()

    def _take(self, line: str) -> None:
        line = RAY_WORKER.sub("", line.removeprefix(INDENT))
        if line:
            self.log.write(line + "\n")
            self.log.flush()
        if step := STEP_LINE.fullmatch(line):
            self._step(step[1], step[2])
        elif PROGRESS.fullmatch(line):
            self.show(self.current, line.strip(), transient=True)

    def _step(self, step: str, what: str) -> None:
        if what == "started":
            self.current = step
        run = self.runs.setdefault(step, StepRun(step))
        if what.startswith("reused "):
            run.reused = True
            return
        if done := re.fullmatch(r"done in ([\d.]+) s", what):
            run.seconds = float(done[1])
            what = "reused" if run.reused else what
        self.show(step, what, transient=what == "started")
