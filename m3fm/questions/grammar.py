"""The grammar of questions: sentences for every task and for none, from in_scope.yaml and out_of_scope.yaml.

The Task ID predictor learns from them which words name a task. From ten questions a task
(`m3fm.questions.bank`) it could learn the frame ("Is there ...?") instead; here every frame is filled both
with what a task answers and with what no task answers, so only the filling distinguishes them. Without torch.
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
"""Name of the class of questions that no task answers."""
_IMAGED = ("emphysema", "lung_fibrosis", "lung_cancer", "heart_disease", "pneumonia")
"""Elements about which a question in the present tense asks the images, not the record."""
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
    """Replace every `<name>` by a random alternative of its rule, until none is left."""
    while "<" in text:
        text = re.sub(r"<(\w+)>", lambda place: _pick(_RULES[place[1]], rng), text)
    return text


def _plural(noun: str) -> bool:
    """Return whether a noun takes a plural verb: "nodules in the lung" does, "fibrosis" does not."""
    head = re.split(r" (?:in|of|at|on|over|from|between|to|with|or) ", noun)[0]
    return head.endswith("s") and not head.endswith(("ss", "is", "us"))


def _fill(frame: str, noun: str) -> str:
    plural = _plural(noun)
    bare = re.sub(r"^(?:a|an|the) ", "", noun)
    return frame.format(noun, bare=bare, be="are" if plural else "is", have="have" if plural else "has")


def sentence(task: str, rng: "np.random.Generator") -> str:
    """Generate a sentence that asks for a task of `m3fm.clinical.tasks`, or for none if `task` is NO_TASK."""
    filled = _FILLINGS[task]
    sizes = [len(filled[frame]) if frame == "whole" else len(_FRAMES[frame]) for frame in filled]
    # Frames are drawn in proportion to their alternatives: a question with many forms needs many examples.
    frame = list(filled)[int(rng.choice(len(sizes), p=[size / sum(sizes) for size in sizes]))]
    text = _expand(_fill(_pick(_FRAMES[frame], rng), _expand(_pick(filled[frame], rng), rng)), rng)
    return text[0].upper() + text[1:] + ("." if re.split(r"[\s,]", text, maxsplit=1)[0] in _ORDERS else "?")


def question(task: str, rng: "np.random.Generator") -> str:
    """Generate a `sentence` as people type it: now and then with more words, in lower case or with a typo."""
    text = sentence(task, rng)
    if rng.random() < 0.1:
        text = _pick(_OPENINGS, rng) + text[0].lower() + text[1:]
    if rng.random() < 0.15:
        # An unknown word must not make the model refuse a question that it knows.
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
        typo = int(rng.integers(1, len(text) - 2))
        text = text[:typo] + text[typo + 1] + text[typo] + text[typo + 2 :]
    return text


def task_id_questions(count: int, rng: "np.random.Generator") -> list[tuple[str, int]]:
    """Generate questions for the Task ID predictor, each with its class: half ask for a task, half for none.

    The class is the task's index in the table, or the number of tasks for a question that asks for none.
    """
    names = tuple(TASKS)
    asked = [_pick(names, rng) for _ in range(count // 2)]
    known = [(question(name, rng), names.index(name)) for name in asked]
    unknown = [
        OUT_OF_SCOPE[rng.integers(len(OUT_OF_SCOPE))] if rng.random() < 0.2 else question(NO_TASK, rng)
        for _ in range(count - len(known))
    ]
    return known + [(text, len(names)) for text in unknown]
