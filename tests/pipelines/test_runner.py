"""The local runner's own parts: what the user sees."""

import io

from m3fm_kfp.pipelines.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(text: str, out: io.StringIO) -> tuple[list[str], str, Screen]:
    log = io.StringIO()
    screen = Screen(["simulate", "curate", "validate"], out, log)
    # Kubeflow's runner prints a step's lines in two parts.
    for line in text.splitlines():
        screen.write("    ")
        screen.write(line + "\n")
    return [line[8:] for line in out.getvalue().splitlines()], log.getvalue(), screen


OUTPUT = """\
22:36:40.618 - INFO - Executing task 'curate'
[KFP Executor 2026-11-23 22:36:41,000 INFO]: Got executor_input: 1/2
m3fm: curate: started
\x1b[36m(RayTrainWorker pid=123)\x1b[0m step 3/8  loss 1.2
   curating series 12/720, 11 kept, 1 rejected, 30 s left
Traceback (most recent call last):
m3fm: curate: done in 62.5 s
m3fm: validate: started
m3fm: validate: reused /somewhere/long
m3fm: validate: done in 0.2 s"""


def test_user_sees_steps_and_progress_and_the_log_has_everything():
    lines, log, screen = shown(OUTPUT, io.StringIO())
    assert lines == [
        "curate    started",
        "curate    step 3/8  loss 1.2",
        "curate    curating series 12/720, 11 kept, 1 rejected, 30 s left",
        "curate    done in 62.5 s",
        "validate  started",
        "validate  reused",
    ]
    assert "Executing task" in log
    assert "Traceback" in log
    assert "\x1b" not in log
    ways = {run.name: (run.seconds, run.reused) for run in screen.runs.values()}
    assert ways == {"curate": (62.5, False), "validate": (0.2, True)}


def test_a_terminal_keeps_the_last_line_of_progress_only():
    out = Terminal()
    _, _, screen = shown(OUTPUT, out)
    screen.close()
    final = [line.split("\x1b[K")[-1][8:] for line in out.getvalue().rstrip("\n").split("\n")]
    assert final == ["curate    done in 62.5 s", "validate  reused"]
