"""The Task ID predictor after a short training: it knows questions that it never saw, and refuses others.

The text part of the tiny preset alone learns here, from fewer questions than a run has. Rates are of the
questions that were not among those that it learnt from.
"""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paraphrases import HELD_OUT

from m3fm.clinical.tasks import TASKS
from m3fm.config.presets import preset
from m3fm.core.tokens import encode
from m3fm.dataset.mqa import corpus
from m3fm.deploy.predictor import SURE
from m3fm.model.m3fm import M3FM
from m3fm.model.text import train_tokenizer
from m3fm.questions.bank import OUT_OF_SCOPE, QUESTIONS
from m3fm.questions.grammar import task_id_questions
from m3fm.training.recipe import learning_rate, parameter_groups

pytestmark = pytest.mark.integration

STEPS, QUESTIONS_A_STEP = 260, 240
NAMES = list(TASKS)


def folded(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def understood() -> dict[str, dict[str, str]]:
    """By what is asked and by question, what is taken for what; "" is none. All are new to the model."""
    run = preset("tiny")
    schedule = run.train.optimizer.model_copy(update={"steps": STEPS})
    tokenizer = train_tokenizer(corpus(0, 1000), run.model.text.vocabulary)
    torch.manual_seed(0)
    model = M3FM(run.model)

    def logits(texts: list[str]) -> torch.Tensor:
        ids, mask = encode(tokenizer, texts, run.model.text.max_question_tokens)
        return model.task_logits(model.encode_question(torch.from_numpy(ids), torch.from_numpy(mask)))

    parts = torch.nn.ModuleList([model.text, model.question_to_task, model.task_id])
    optimizer = torch.optim.AdamW(parameter_groups(parts, schedule), betas=(0.9, 0.95))
    seen = {folded(text) for text in OUT_OF_SCOPE}
    for step in range(STEPS):
        rng = np.random.default_rng([0, step])
        batch = task_id_questions(QUESTIONS_A_STEP, rng)
        batch += [(asked[rng.integers(10)], NAMES.index(name)) for name, asked in QUESTIONS.items()]
        texts, classes = map(list, zip(*batch))
        seen.update(map(folded, texts))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        F.cross_entropy(logits(texts), torch.tensor(classes)).backward()
        optimizer.step()
        optimizer.zero_grad()
    found: dict[str, dict[str, str]] = {}
    for name, asked in HELD_OUT.items():
        unseen = [text for text in asked if folded(text) not in seen]
        with torch.no_grad():
            sure, classes = logits(unseen).softmax(dim=1).max(dim=1)
        taken = [[*NAMES, ""][c] if p >= SURE else "" for p, c in zip(sure.tolist(), classes.tolist())]
        found[name] = dict(zip(unseen, taken))
    return found


def test_questions_in_other_words_are_understood(understood):
    right = {name: [taken == name for taken in found.values()] for name, found in understood.items() if name}
    rates = {name: sum(known) / len(known) for name, known in right.items()}
    total = sum(map(sum, right.values())) / sum(map(len, right.values()))
    # 0.93 to 0.99 from three seeds; 0.62 without the grammar.
    assert total >= 0.85, understood
    assert min(rates.values()) >= 0.5, understood


def test_questions_of_no_task_are_refused(understood):
    refused = [taken == "" for taken in understood[""].values()]
    assert len(refused) >= 60
    # 0.98 from three seeds; 0.78 without the grammar.
    assert sum(refused) / len(refused) >= 0.9, understood[""]
