"""The grammar of questions: whole sentences, each of one task or of none, the same from the same seed."""

import re

import numpy as np
import pytest

from m3fm.clinical.tasks import TASKS
from m3fm.questions.bank import OUT_OF_SCOPE, QUESTIONS
from m3fm.questions.grammar import (
    IN_SCOPE,
    NO_TASK,
    OUT_OF_SCOPE_WORDS,
    question,
    sentence,
    task_id_questions,
)

NAMES = (*TASKS, NO_TASK)


def folded(text: str) -> str:
    return text.lower().rstrip("?.")


@pytest.fixture(scope="module")
def sentences() -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    return {name: [sentence(name, rng) for _ in range(3000)] for name in NAMES}


def test_sentences_are_whole(sentences):
    for text in (text for texts in sentences.values() for text in texts):
        assert text[0].isupper() or text[0].isdigit()
        assert text[-1] in "?."
        assert "  " not in text
        assert text.isascii()
        assert not re.search(r"[<>{}|]", text), text
        assert not re.search(r"\b(?:an? an?|the the|an? the|the an?)\b", text), text


def test_verbs_go_with_their_nouns(sentences):
    for text in sentences["nodule_presence"]:
        assert not re.search(r"^Is there (?:\w+ )?nodules|^Are there an? ", text), text


def test_no_sentence_is_of_two_tasks(sentences):
    seen: dict[str, str] = {}
    own = {**QUESTIONS, NO_TASK: OUT_OF_SCOPE}
    for name in NAMES:
        for text in (*sentences[name], *own.get(name, ())):
            assert seen.setdefault(folded(text), name) == name, text


def test_every_frame_of_a_task_is_also_filled_with_what_none_answers():
    asked = {frame for filled in IN_SCOPE["fillings"].values() for frame in filled}
    assert set(IN_SCOPE["fillings"]) == set(TASKS)
    assert asked <= set(OUT_OF_SCOPE_WORDS["fillings"]) <= set(IN_SCOPE["frames"])


def test_every_rule_is_used():
    rules = IN_SCOPE["rules"] | OUT_OF_SCOPE_WORDS["rules"]
    texts = [*rules.values(), *IN_SCOPE["frames"].values()]
    for filled in (*IN_SCOPE["fillings"].values(), OUT_OF_SCOPE_WORDS["fillings"]):
        texts += filled.values()
    used = {name for text in texts for name in re.findall(r"<(\w+)>", text)}
    assert used - {"element"} == set(rules) | {"lasting"}


def test_half_of_the_questions_are_of_no_task():
    for count in (1, 2, 16):
        classes = [number for _, number in task_id_questions(count, np.random.default_rng(count))]
        assert len(classes) == count
        assert classes.count(len(TASKS)) == count - count // 2
    many = task_id_questions(2000, np.random.default_rng(0))
    assert {number for _, number in many} == set(range(len(TASKS) + 1))


def test_the_same_seed_gives_the_same_questions():
    first, again, other = (task_id_questions(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_people_type_as_they_like():
    rng = np.random.default_rng(0)
    typed = [question("emphysema", rng) for _ in range(300)]
    assert any(text == text.lower() for text in typed)
    assert any(text[-1] not in "?." for text in typed)
    assert any(text.endswith("?") for text in typed)
