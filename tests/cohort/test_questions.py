from m3fm.questions import (
    DIAGNOSIS_AGE_QUESTIONS,
    DIAGNOSIS_QUESTIONS,
    FAMILY_QUESTIONS,
    NUMBER_QUESTIONS,
    OUT_OF_SCOPE,
    QUESTIONS,
    STATUS_QUESTIONS,
)
from m3fm.tasks import SCREENING

ALL = [question for questions in QUESTIONS.values() for question in questions] + list(OUT_OF_SCOPE)


def test_ten_questions_for_each_screening_task():
    assert tuple(QUESTIONS) == SCREENING
    assert all(len(questions) == 10 for questions in QUESTIONS.values())


def test_no_question_is_asked_for_two_tasks_or_twice():
    folded = [question.lower().rstrip("?.") for question in ALL]
    assert len(set(folded)) == len(folded)


def test_questions_are_whole_sentences():
    for question in ALL:
        assert question[0].isupper()
        assert question[-1] in "?."
        assert "  " not in question
        assert question.isascii()


def test_sixty_questions_of_no_task():
    assert len(OUT_OF_SCOPE) >= 60


def test_the_known_wordings_of_the_authors_are_there():
    assert "What is the Lung-RADS?" in QUESTIONS["lung_rads"]
    assert "Is there any significant cardiovascular abnormality?" in QUESTIONS["cvd_diagnosis"]
    assert "Predict the lung cancer risk over 6 years." in QUESTIONS["lung_cancer_risk"]
    assert "Predict if the patient has COVID-19 given the data." in QUESTIONS["covid19"]


def test_templates_have_one_place_to_fill_and_others_none():
    for template in (*DIAGNOSIS_QUESTIONS, *FAMILY_QUESTIONS, *DIAGNOSIS_AGE_QUESTIONS):
        assert template.count("{}") == 1
    fixed = [question for questions in NUMBER_QUESTIONS.values() for question in questions]
    fixed += [q for values in STATUS_QUESTIONS.values() for questions in values.values() for q in questions]
    assert not any("{" in question for question in [*fixed, *ALL])
    assert not set(fixed) & set(ALL)
