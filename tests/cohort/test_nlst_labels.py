"""Labels of NLST's tables against a second, slow implementation, written from the data dictionary alone."""

import csv

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from m3fm.cohort.nlst import _PERSON_COLUMNS
from m3fm.cohort.source import open_source
from m3fm.config.sections import LabelConfig
from m3fm.dataset.tables import Exam, label_rows

ABNORMALITIES = {
    **{"54": "atelectasis", "55": "pleural_thickening_effusion", "56": "adenopathy_mass"},
    **{"57": "chest_wall_abnormality", "58": "consolidation", "59": "emphysema", "60": "cvd_diagnosis"},
    "61": "reticular_fibrosis_scar",
}
LEFT = ("loclhil", "loclup", "loclin", "locllow", "loclmsb")
RIGHT = ("locrhil", "locrup", "locrmid", "locrlow", "locrmsb")
MISSING = ["", ".M", ".N"]

# Days at the ends of years count most.
YEAR_ENDS = [year * 365 + off for year in range(8) for off in (-1, 0, 1) if year * 365 + off >= 0]
DAY = st.one_of(
    st.sampled_from([*MISSING, ".E", ".W"]),
    st.sampled_from(YEAR_ENDS).map(str),
    st.integers(0, 3000).map(str),
)
SCAN_DAY = st.sampled_from(["0", "0", "20", "365", ".N"])
PERSON = st.fixed_dictionaries(
    {
        **{f"scr_days{year}": SCAN_DAY for year in range(3)},
        **{"candx_days": DAY, "fup_days": DAY, "death_days": DAY},
        "dcficd": st.sampled_from(["", " ", "I219", "C349", "i64", "J440"]),
        **{column: st.sampled_from(["0", "0", "1", ".N"]) for column in ("loclup", "locrlow", "locunk")},
    }
)
NODULE = st.fixed_dictionaries(
    {
        "sct_ab_desc": st.sampled_from(["51", "51", "51", "51", "52", "53", "54", "60", "62", ".M"]),
        "sct_slice_num": st.sampled_from(["40", "41", "42", "999", ".M"]),
        "sct_epi_loc": st.sampled_from(["1", "2", "3", "4", "5", "6", "8", ".M", ".N"]),
        "sct_long_dia": st.sampled_from(["4", "4.5", "8", "30", "31", ".S", ".M"]),
        "sct_margins": st.sampled_from(["1", "2", "3", "9", ".M"]),
        "sct_pre_att": st.sampled_from(["1", "2", "3", "4", "6", "7", "9", ".N"]),
    }
)
EXAMS = st.lists(
    st.tuples(st.sampled_from(["1", "2", ".M", "1", "2", "3"]), st.lists(NODULE, min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


def days(text):
    return None if text.strip() in ("", ".M", ".N", ".E", ".W") else int(text)


def risk(event, end, scan):
    """Year by year: what is known at the end of each, and until when anybody looked."""
    if scan is None or (event is None and end is None):
        return None
    label, mask = [], []
    for year in range(6):
        happened = event is not None and event - scan < (year + 1) * 365
        label.append(float(happened))
        before = event is not None and event - scan < 0
        within = event is not None and year * 365 <= event - scan < (year + 1) * 365
        soon = event is not None and event - scan < 6 * 365
        watched = end is not None and end - scan >= year * 365
        already = event is not None and event - scan < year * 365
        mask.append(float(not before and (not already if soon else watched) if not within else True))
    return (label, mask) if any(mask) else None


def expected_labels(person, quality, rows, timepoint):
    found = set()
    scan, end = days(person[f"scr_days{timepoint}"]), days(person["fup_days"])
    end = days(person["death_days"]) if end is None else end
    heart = days(person["death_days"]) if person["dcficd"].strip().upper().startswith("I") else None
    if (mortality := risk(heart, end, scan)) is not None:
        found.add(("cvd_mortality", "", -1, *map(tuple, mortality)))
    cancer = risk(days(person["candx_days"]), end, scan)
    if cancer is not None:
        sides = [
            side
            for side, columns in (("left", LEFT), ("right", RIGHT))
            if any(person.get(column) == "1" for column in columns)
        ]
        for side in ("left", "right"):
            if not any(cancer[0]):
                found.add(("lung_cancer_risk", side, -1, *map(tuple, cancer)))
            elif sides:
                label = cancer[0] if side in sides else [0.0] * 6
                found.add(("lung_cancer_risk", side, -1, tuple(label), tuple(cancer[1])))
    if quality == "3":
        return found
    codes = [row["sct_ab_desc"] for row in rows]
    for code, task in ABNORMALITIES.items():
        found.add((task, "", -1, (float(code in codes),), (1.0,)))
    clear = {"left", "right"}
    for number, row in enumerate(rows, 1):
        if row["sct_ab_desc"] not in ("51", "52", "62"):
            continue
        lobe = {"1": 0, "2": 1, "3": 2, "4": 3, "5": 3, "6": 4}.get(row["sct_epi_loc"])
        side = None if lobe is None else "left" if lobe >= 3 else "right"
        clear -= {side} if side else {"left", "right"}
        if side is None or row["sct_slice_num"] in ("999", ".M", ".N"):
            continue
        margin = {"1": 0, "2": 1, "3": 2, "9": 3}.get(row["sct_margins"])
        attenuation = {"1": 0, "2": 1}.get(row["sct_pre_att"], None if row["sct_pre_att"] == ".N" else 2)
        answers = {"presence": 1, "location": lobe, "margin": margin, "attenuation": attenuation}
        if row["sct_long_dia"][0] != ".":
            answers["size"] = sum(float(row["sct_long_dia"]) > end for end in (4, 6, 8, 15, 30))
        for name, answer in answers.items():
            if answer is not None:
                found.add((f"nodule_{name}", side, number, (float(answer),), (1.0,)))
    for side in clear:
        found.add(("nodule_presence", side, -1, (0.0,), (1.0,)))
    return found


def write_table(path, columns, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "images").mkdir()
    return tmp_path


# Without shrinking: an example takes files, and a small table is read as easily as a smaller one.
@pytest.mark.integration
@settings(
    max_examples=60,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(PERSON, EXAMS)
def test_labels_of_tables_are_those_of_the_dictionary(root, person, exams):
    person = {**dict.fromkeys(_PERSON_COLUMNS, ".N"), "pid": "1", **person}
    write_table(root / "tables/prsn.csv", list(person), [person])
    key = ("pid", "study_yr")
    screen = [dict(zip((*key, "ctdxqual"), ("1", year, quality))) for year, (quality, _) in enumerate(exams)]
    write_table(root / "tables/screen.csv", [*key, "ctdxqual"], screen)
    abnormalities = [
        {"pid": "1", "study_yr": year, "sct_ab_num": number, "sct_perp_dia": ".M", **row}
        for year, (_, rows) in enumerate(exams)
        for number, row in enumerate(rows, 1)
    ]
    columns = [*key, "sct_ab_num", "sct_perp_dia", "sct_ab_desc", "sct_slice_num", "sct_epi_loc"]
    columns += ["sct_long_dia", "sct_margins", "sct_pre_att"]
    write_table(root / "tables/ctab.csv", columns, abnormalities)
    write_table(root / "tables/ctabc.csv", [*key, "sct_ab_num", "sct_ab_preexist"], [])

    for record, (quality, rows) in zip(open_source("nlst", root, LabelConfig()).exams(), exams):
        found = {
            (row["task"], row["side"], row["nodule"], tuple(row["label"]), tuple(row["mask"]))
            for row in label_rows(Exam("e", "s", record), "train", imaged=True)
        }
        assert found == expected_labels(person, quality, rows, record.timepoint)
