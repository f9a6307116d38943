from m3fm.clinical.tasks import SCREENING
from m3fm.questions.bank import (
    DIAGNOSIS_AGE_QUESTIONS,
    DIAGNOSIS_QUESTIONS,
    FAMILY_QUESTIONS,
    NUMBER_QUESTIONS,
    OUT_OF_SCOPE,
    QUESTIONS,
    STATUS_QUESTIONS,
)

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


KNOWN = {
    "nodule_presence": "Upon reviewing the CT, are there any nodules detected in the lung?",
    "nodule_location": "Please identify the exact position of the lung nodule.",
    "nodule_attenuation": "Could you specify the nodule's leading attenuation property?",
    "nodule_margin": "What kind of margin does the nodule exhibit?",
    "nodule_size": "Could you specify the size of the nodule?",
    "cvd_diagnosis": "Is there any significant cardiovascular abnormality?",
    "cvd_mortality": "Predict the risk of cardiovascular disease mortality.",
    "lung_cancer_risk": "Given the current indicators, what's the six-year outlook for developing lung "
    "cancer?",
    "atelectasis": "Are there any segmental atelectasis present?",
    "pleural_thickening_effusion": "Are there any evident changes suggesting pleural thickening or the "
    "presence of effusion?",
    "adenopathy_mass": "Does the scan display non-calcified masses or adenopathies greater than or equal to "
    "10 mm within the hilar/mediastinal regions?",
    "chest_wall_abnormality": "Are there manifestations of any abnormalities within the chest wall, "
    "including but not limited to bone destruction and metastasis?",
    "consolidation": "Based on the CT results, are there manifestations of consolidation?",
    "emphysema": "Can you identify emphysema from the CT images?",
    "reticular_fibrosis_scar": "Looking at the scans, are there manifestations of scar tissue, honeycombing, "
    "fibrosis, or reticulonodular opacities?",
    "covid19": "Predict if the patient has COVID-19 given the data.",
    "lung_rads": "What is the Lung-RADS?",
}


def test_the_known_wordings_of_the_authors_are_there():
    assert {task for task, question in KNOWN.items() if question in QUESTIONS[task]} == set(SCREENING)
    assert {
        "Predict the lung cancer risk over 6 years.",
        "Predict the lung cancer risk over six years.",
    } < set(QUESTIONS["lung_cancer_risk"])


def test_templates_have_one_place_to_fill_and_others_none():
    for template in (*DIAGNOSIS_QUESTIONS, *FAMILY_QUESTIONS, *DIAGNOSIS_AGE_QUESTIONS):
        assert template.count("{}") == 1
    fixed = [question for questions in NUMBER_QUESTIONS.values() for question in questions]
    fixed += [q for values in STATUS_QUESTIONS.values() for questions in values.values() for q in questions]
    assert not any("{" in question for question in [*fixed, *ALL])
    assert not set(fixed) & set(ALL)
