"""Other ways to ask: sentences of every task and of none, made of in_scope.yaml and out_of_scope.yaml.

The Task ID predictor learns from them which words name a task. Ten questions a task (`m3fm.questions.bank`)
let it go by the frame ("Is there ...?") as well; here every frame is filled both with what a task answers and
with what none answers, so only the filling tells them apart. Without torch.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3fm.clinical.elements import ELEMENTS
from m3fm.clinical.tasks import TASKS
from m3fm.core.files import read_yaml
from m3fm.questions.bank import OUT_OF_SCOPE

if TYPE_CHECKING:
    import numpy as np

NO_TASK = "no task"
"""What stands for a task where none answers."""
_IMAGED = ("emphysema", "lung_fibrosis", "lung_cancer", "heart_disease", "pneumonia")
"""Elements that a question in the present tense asks of the images, not of the record."""
_OPENINGS = (
    *("Please, ", "Doctor, ", "Hello, ", "Quick question: ", "For this patient: ", "Chest CT. ", "So, "),
    *("Dear colleague, ", "Looking at the scan, ", "From these images, ", "In your opinion, ", "And "),
    "62-year-old smoker. ",
)
_FILLERS = ("really", "clearly", "maybe", "also", "now", "actually", "probably", "<invented>", "<invented>")
_CLOSINGS = (", please", " thanks", " thank you", ", doctor", " in this case", " in your view", " or not")


def _alternatives(rule: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in rule.split("|"))


def _diagnoses(left_out: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(e.phrase for n, e in ELEMENTS.items() if e.kind == "diagnosis" and n not in left_out)


def _vocabulary(name: str) -> Any:
    return read_yaml(Path(__file__).with_name(name))


IN_SCOPE, OUT_OF_SCOPE_WORDS = _vocabulary("in_scope.yaml"), _vocabulary("out_of_scope.yaml")
_RULES = {
    **{name: _alternatives(rule) for name, rule in (IN_SCOPE["rules"] | OUT_OF_SCOPE_WORDS["rules"]).items()},
    "element": _diagnoses(),
    "lasting": _diagnoses(_IMAGED),
}
_ORDERS = _alternatives(IN_SCOPE["orders"])
_FRAMES = {name: _alternatives(rule) for name, rule in IN_SCOPE["frames"].items()}
_FILLINGS = {
    task: {frame: _alternatives(rule) for frame, rule in filled.items()}
    for task, filled in (IN_SCOPE["fillings"] | {NO_TASK: OUT_OF_SCOPE_WORDS["fillings"]}).items()
}


def _pick(options: tuple[str, ...], rng: "np.random.Generator") -> str:
    return options[int(rng.integers(len(options)))]


def _expand(text: str, rng: "np.random.Generator") -> str:
    """Replace every `<name>` by an alternative of its rule, until none is left."""
    while "<" in text:
        text = re.sub(r"<(\w+)>", lambda place: _pick(_RULES[place[1]], rng), text)
    return text


def _plural(noun: str) -> bool:
    """Whether a verb that goes with a noun is plural: "nodules in the lung" is, "fibrosis" is not."""
    head = re.split(r" (?:in|of|at|on|over|from|between|to|with|or) ", noun)[0]
    return head.endswith("s") and not head.endswith(("ss", "is", "us"))


def _filled(frame: str, noun: str) -> str:
    plural = _plural(noun)
    bare = re.sub(r"^(?:a|an|the) ", "", noun)
    return frame.format(noun, bare=bare, be="are" if plural else "is", have="have" if plural else "has")


def sentence(task: str, rng: "np.random.Generator") -> str:
    """A whole sentence that asks for a task of `m3fm.clinical.tasks`, or for none where `task` is NO_TASK."""
    filled = _FILLINGS[task]
    sizes = [len(filled[frame]) if frame == "whole" else len(_FRAMES[frame]) for frame in filled]
    # As often as a frame has alternatives: a kind of question with many forms needs many examples.
    frame = list(filled)[int(rng.choice(len(sizes), p=[size / sum(sizes) for size in sizes]))]
    text = _expand(_filled(_pick(_FRAMES[frame], rng), _expand(_pick(filled[frame], rng), rng)), rng)
    return text[0].upper() + text[1:] + ("." if re.split(r"[\s,]", text, maxsplit=1)[0] in _ORDERS else "?")


def question(task: str, rng: "np.random.Generator") -> str:
    """`sentence` as people type it: some have words around them, no capitals, no mark, or a slip."""
    text = sentence(task, rng)
    if rng.random() < 0.1:
        text = _pick(_OPENINGS, rng) + text[0].lower() + text[1:]
    if rng.random() < 0.15:
        # A word that it does not know must not make it refuse what it does know.
        words = text.split(" ")
        words.insert(int(rng.integers(1, len(words) + 1)), _expand(_pick(_FILLERS, rng), rng))
        text = " ".join(words)
    if rng.random() < 0.25:
        text = text.lower()
    if rng.random() < 0.05:
        text = text[:-1] + _pick(_CLOSINGS, rng) + text[-1]
    if rng.random() < 0.25:
        text = text[:-1]
    if rng.random() < 0.05 and len(text) > 8:
        slip = int(rng.integers(1, len(text) - 2))
        text = text[:slip] + text[slip + 1] + text[slip] + text[slip + 2 :]
    return text


def task_id_questions(count: int, rng: "np.random.Generator") -> list[tuple[str, int]]:
    """Questions with their classes for the Task ID predictor: half of random tasks, half of none.

    The class is the task's place in the table, or their number for a question of none.
    """
    names = tuple(TASKS)
    asked = [_pick(names, rng) for _ in range(count // 2)]
    known = [(question(name, rng), names.index(name)) for name in asked]
    unknown = [
        OUT_OF_SCOPE[rng.integers(len(OUT_OF_SCOPE))] if rng.random() < 0.2 else question(NO_TASK, rng)
        for _ in range(count - len(known))
    ]
    return known + [(text, len(names)) for text in unknown]
