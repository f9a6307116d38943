import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, IMAGE_ELEMENTS, NEVER
from m3fm.clinical.records import Nodule
from m3fm.clinical.sentences import clinical_sentences, nodule_report
from m3fm.questions.retrieval import digits, retrieval_question, simulate_elements

PAPER_ELEMENTS = {
    "age": 56.0,
    "gender": "Female",
    "ethnic": "neither Hispanic nor Latino",
    "height": 60.0,
    "weight": 105.0,
    "education": "associate degree/some college",
    "smoking_status": "Former",
    "pack_years": 38.0,
    "smoke_day": 20.0,
    "age_quit": 54.0,
    "asthma_childhood": 7.0,
    "hypertension": 53.0,
    "pneumonia": 50.0,
    "family_brother": True,
}
PAPER_TEXT = (
    "The patient is 56.0 years old. Gender is Female. Ethnicity is neither Hispanic nor Latino. "
    "Height is 60.0 inches. Weight is 105.0 pounds. Education is associate degree/some college. "
    "Former smoker. Smoking duration is 38.0 pack years. Smoking intensity is 20.0 cigarettes per day. "
    "2.0 years since quit smoking. The patient had asthma (childhood) diagnosed at 7.0 years old. "
    "The patient had hypertension diagnosed at 53.0 years old. The patient had pneumonia diagnosed at 50.0 "
    "years old. Patient's brother(s) (including half-brothers) have lung cancer."
)


def test_the_papers_example_comes_out_word_for_word():
    assert " ".join(clinical_sentences(PAPER_ELEMENTS)) == PAPER_TEXT


AUTHORS_ELEMENTS = {
    **{"age": 64.0, "gender": "Female", "race": "white", "ethnic": "neither Hispanic nor Latino"},
    **{"height": 65.0, "weight": 130.0, "education": "high school graduate/GED"},
    **{"smoking_status": "Former", "pack_years": 46.0, "smoke_day": 20.0, "age_quit": 63.0},
    **{"hypertension": 56.0, "pneumonia": 61.0, "stroke": 60.0, "family_mother": True},
}
AUTHORS_TEXT = (
    "The patient is 64.0 years old. Gender is Female. Race is white. Ethnicity is neither hispanic nor "
    "latino. Height is 65.0 inches. Weight is 130.0 pounds. Education is high school graduate/ged. Former "
    "smoker. Smoking duration is 46.0 pack years. Smoking intensity is 20.0 cigarettes per day. 1.0 years "
    "since quit smoking. The patient had hypertension diagnosed at 56.0 years old. The patient had pneumonia "
    "diagnosed at 61.0 years old. The patient had stroke diagnosed at 60.0 years old. Patient's mother have "
    "lung cancer."
)


def test_the_authors_demo_comes_out_but_for_the_case_of_its_values():
    """The demo has the values in lower case, the paper as NLST writes them; the paper's are used."""
    assert " ".join(clinical_sentences(AUTHORS_ELEMENTS)).lower() == AUTHORS_TEXT.lower()


def test_the_order_of_the_given_elements_does_not_matter():
    assert clinical_sentences(dict(reversed(PAPER_ELEMENTS.items()))) == clinical_sentences(PAPER_ELEMENTS)


def test_forty_nine_data_elements_of_fig_3b():
    groups = Counter(element.group for element in ELEMENTS.values())
    assert groups == {"demographics": 7, "smoking": 4, "disease": 16, "cancer": 15, "family": 5}
    assert len(ELEMENTS) + len(IMAGE_ELEMENTS) == 49


def test_no_column_of_the_table_is_read_twice():
    columns = [column for element in ELEMENTS.values() for column in element.columns]
    assert len(set(columns)) == len(columns) == 47 + 16 + 15


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, []),
        ({"age": None, "height": float("nan")}, []),
        ({"diabetes": NEVER, "stroke": False, "family_mother": False}, []),
        ({"diabetes": AGE_UNKNOWN, "stroke": True}, ["The patient had diabetes.", "The patient had stroke."]),
        ({"asthma_childhood": 0.0}, ["The patient had asthma (childhood) diagnosed at 0.0 years old."]),
        ({"pneumonia": 1.0}, ["The patient had pneumonia diagnosed at 1.0 years old."]),
        ({"age_quit": 50.0}, ["The patient quit smoking at 50.0 years old."]),
        ({"family_sister": np.False_, "family_father": np.True_}, ["Patient's father have lung cancer."]),
        ({"pack_years": 37.5}, ["Smoking duration is 37.5 pack years."]),
    ],
)
def test_what_is_unknown_or_was_not_there_gives_no_sentence(elements, expected):
    assert clinical_sentences(elements) == expected


def test_every_element_has_a_sentence_of_its_own():
    values = {
        name: next(iter(e.codes.values())) if e.kind == "category" else True if e.kind == "relative" else 50.0
        for name, e in ELEMENTS.items()
    }
    assert len(set(clinical_sentences(values))) == len(ELEMENTS)
    assert not any("{" in sentence for sentence in clinical_sentences(values))


def test_nodule_reports():
    assert nodule_report([]) == "No nodule."
    described = Nodule(
        number=1,
        lobe="RUL",
        long_mm=12.0,
        short_mm=10.0,
        margin="spiculated",
        attenuation="solid",
        new=True,
    )
    assert nodule_report([described, Nodule(number=3, lobe="LLL", long_mm=5.0), Nodule(number=4)]) == (
        "Nodule 1: solid, spiculated, right upper lobe, 12.0 x 10.0 mm, new. "
        "Nodule 3: left lower lobe, 5.0 mm. Nodule 4: not described."
    )
    unclear = Nodule(number=2, margin="undetermined", attenuation="other")
    assert nodule_report([unclear]) == "Nodule 2: other attenuation, undetermined margin."


def test_digits():
    assert [digits(number) for number in (0, 7, 42, 999)] == [(0, 0, 0), (0, 0, 7), (0, 4, 2), (9, 9, 9)]


def test_simulated_elements_are_plausible_and_random():
    rng = np.random.default_rng(1)
    cohort = [simulate_elements(rng) for _ in range(300)]
    assert {name for elements in cohort for name in elements} == set(ELEMENTS)
    for elements in cohort:
        for name, value in elements.items():
            element = ELEMENTS[name]
            if element.kind in ("number", "diagnosis"):
                assert element.bounds[0] <= value <= element.bounds[1]
            else:
                assert value in element.codes.values()
        assert elements.get("age_quit", 0.0) <= elements["age"]
        assert "age_quit" not in elements or elements["smoking_status"] == "Former"
    again = np.random.default_rng(1)
    assert cohort == [simulate_elements(again) for _ in range(300)]


def test_numbers_asked_for_stand_in_the_text():
    rng = np.random.default_rng(2)
    for _ in range(500):
        elements = simulate_elements(rng)
        question, answer = retrieval_question("clinical_number", elements, rng)
        number = int("".join(map(str, answer)))
        assert question.endswith("?")
        assert f"{number:.1f}" in " ".join(clinical_sentences(elements))


STATUS_SENTENCES = {
    "female": "Gender is Female.",
    "a woman": "Gender is Female.",
    "male": "Gender is Male.",
    "a man": "Gender is Male.",
    "a current smoker": "Current smoker.",
    "still smoke": "Current smoker.",
    "a former smoker": "Former smoker.",
    "stopped smoking": "Former smoker.",
}


def _said_in_the_text(question, text):
    """What the text says to a yes-or-no question."""
    for end, sentence in STATUS_SENTENCES.items():
        if question.endswith(f" the patient {end}?"):
            return sentence in text
    for element in reversed(ELEMENTS.values()):  # relatives first: each of them is asked about lung cancer
        if element.kind == "relative" and f"patient's {element.phrase}" in question:
            return element.sentence in text
        if element.kind == "diagnosis" and f" {element.phrase} " in question.replace("?", " "):
            return f"had {element.phrase} diagnosed" in text
    raise AssertionError(question)


def test_yes_no_answers_are_what_the_text_says_and_balanced():
    rng = np.random.default_rng(3)
    answers = []
    for _ in range(2000):
        elements = simulate_elements(rng)
        question, (answer,) = retrieval_question("clinical_yes_no", elements, rng)
        assert answer == _said_in_the_text(question, " ".join(clinical_sentences(elements))), question
        answers.append(answer)
    assert 0.4 < np.mean(answers) < 0.55


def test_importing_it_loads_neither_pandas_nor_torch():
    code = "import m3fm.clinical.sentences, m3fm.questions.retrieval, sys\n"
    code += "sys.exit(bool({'pandas', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
