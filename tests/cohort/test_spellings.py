"""Identifiers that are spelled in several ways, and rows that link to nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from written_tables import Sheets, cancer_sheets, nlst_sheets, read, write

from m3fm.cohort.keys import normal, plain
from m3fm.cohort.source import open_source
from m3fm.core.errors import InputError

NLST = nlst_sheets()
SPELLINGS = {
    "as a float": "{}.0",
    "with zeros": "000{}",
    "after an apostrophe": "'{}",
    "between spaces": "  {}\N{NO-BREAK SPACE}",
    "as a formula": '="{}"',
    "in wide digits": "\N{FULLWIDTH DIGIT ZERO}{}",
    "with a mark": "\N{BYTE ORDER MARK}{}",
}


def respelled(sheets: Sheets, name: str, form: str) -> Sheets:
    """Return the tables with all participants of one table spelled in another way."""
    sheet = sheets[name]
    column = sheet.names.index("pid")
    rows = [[*row[:column], form.format(row[column]), *row[column + 1 :]] for row in sheet.rows]
    return {**sheets, name: replace(sheet, rows=rows)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "100001") for text in ("100001", "100001.0", "100001.", "0100001", "100,001", "'100001")),
        *((text, "100001") for text in (" 100001 ", "100 001", "100'001", "100,001.00", '="100001"')),
        *(("mrn-7", "MRN-7"), ("MRN-07", "MRN-07"), ("0", "0"), ("000", "0"), ("", ""), ("' ", "")),
        *(("1000,01", "1000,01"), ("10.5", "10.5"), ("1.2.840.0", "1.2.840.0"), ("12a", "12A")),
    ],
)
def test_spellings_of_a_number_are_one_and_other_texts_differ(text, expected):
    assert normal(text) == expected
    assert normal(expected) == expected


def test_a_uid_keeps_all_its_numbers():
    assert plain(" '1.2.840.0 ") == "1.2.840.0"
    assert plain("1.0") == "1.0"


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
@pytest.mark.parametrize("table", sorted(NLST))
def test_a_table_that_spells_participants_otherwise_gives_the_same_exams(tmp_path, table, spelling):
    expected = read("nlst", write(tmp_path / "clean", NLST))
    assert read("nlst", write(tmp_path / "other", respelled(NLST, table, SPELLINGS[spelling]))) == expected


@pytest.mark.parametrize("table", ["ctab", "ctabc", "ct_image", "covid", "lungrads"])
def test_rows_of_nobody_are_refused_with_hashed_examples(tmp_path, table):
    spoiled = respelled(NLST, f"tables/{table}.csv", "9{}")
    with pytest.raises(InputError) as refusal:
        read("nlst", write(tmp_path, spoiled))
    message = str(refusal.value)
    rows = len(NLST[f"tables/{table}.csv"].rows)
    assert f"{table}.csv: {rows} of {rows} rows link to no row of screen, more than 0.01" in message
    assert message.count("(patient ") == 3
    assert "line 2 (patient " in message
    assert "9100001" not in message
    assert "\n" not in message


def test_cancers_of_nobody_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"canc\.csv: 1 of 1 rows link to no row of prsn"):
        read("nlst", write(tmp_path, {**NLST, **cancer_sheets("999999")}))
    assert read("nlst", write(tmp_path, {**NLST, **cancer_sheets("100001.0")}))


def test_a_few_rows_of_nobody_are_counted(tmp_path):
    sheets = nlst_sheets(60)
    ctab = sheets["tables/ctab.csv"]
    sheets["tables/ctab.csv"] = ctab.with_cell(0, 0, "999999")
    root = write(tmp_path, sheets)
    assert read("nlst", root)
    found = {link.table: (link.rows, len(link.unlinked)) for link in open_source("nlst", root).links()}
    assert found["ctab"] == (len(ctab.rows), 1)
    assert found["lungrads"][1] == 0


def test_without_rows_of_findings_an_abnormal_result_is_refused(tmp_path):
    """Otherwise every exam would be without findings."""
    spoiled = {**NLST, "tables/ctab.csv": replace(NLST["tables/ctab.csv"], rows=[])}
    with pytest.raises(InputError, match=r"screen\.csv: \d+ of 10 rows link to no row of ctab"):
        read("nlst", write(tmp_path, spoiled))


def without_results(sheets: Sheets) -> Sheets:
    """Return the tables without the results of the exams in prsn."""
    sheet = sheets["tables/prsn.csv"]
    keep = [place for place, name in enumerate(sheet.names) if not name.startswith("scr_iso")]
    names, rows = [sheet.names[place] for place in keep], [[row[p] for p in keep] for row in sheet.rows]
    return {**sheets, "tables/prsn.csv": replace(sheet, names=names, rows=rows)}


def test_without_results_and_rows_of_findings_no_finding_is_known(tmp_path):
    spoiled = without_results({**NLST, "tables/ctab.csv": replace(NLST["tables/ctab.csv"], rows=[])})
    assert all(exam.findings == {} for exam in read("nlst", write(tmp_path, spoiled)))
    assert read("nlst", write(tmp_path, without_results(NLST))) == read("nlst", write(tmp_path, NLST))


@pytest.mark.parametrize("table", ["prsn", "screen"])
def test_a_table_of_names_alone_is_refused(tmp_path, table):
    name = f"tables/{table}.csv"
    with pytest.raises(InputError, match=rf"{table}\.csv has no rows"):
        read("nlst", write(tmp_path, {**NLST, name: replace(NLST[name], rows=[])}))


def test_two_spellings_of_a_participant_are_refused(tmp_path):
    """Whether they are one participant or two, nobody can say."""
    prsn = NLST["tables/prsn.csv"]
    with pytest.raises(InputError, match=r"prsn\.csv, line 3, pid: the identifier is not spelled as in an"):
        read("nlst", write(tmp_path, {**NLST, "tables/prsn.csv": prsn.with_cell(1, 0, "0100001")}))


def test_a_study_of_two_participants_is_refused(tmp_path):
    sheet = NLST["tables/ct_image.csv"]
    study = sheet.names.index("studyuid")
    last = len(sheet.rows) - 1
    spoiled = sheet.with_cell(last, study, sheet.rows[0][study])
    with pytest.raises(
        InputError, match=rf"ct_image\.csv, line {last + 2}, pid: the identifier is not what an"
    ):
        read("nlst", write(tmp_path, {**NLST, "tables/ct_image.csv": spoiled}))


@pytest.mark.parametrize(
    ("table", "column", "text", "message"),
    [
        ("ctab", "sct_ab_desc", "510", "'510' is not one of 51"),
        ("ctab", "sct_long_dia", "-35", "'-35' is not a number from 0.1 to 300"),
        ("ctab", "sct_long_dia", "3500", "'3500' is not a number from 0.1 to 300"),
        ("ctab", "sct_slice_num", "-1", "is not a number from 0 to 9999"),
        ("prsn", "pkyr", "66,0", "'66,0' is not a number"),
        ("prsn", "age", "6000", "is not a number from 0 to 220"),
        ("prsn", "scr_days0", "-20", "is not a number from 0 to 10000"),
        ("prsn", "scr_days0", "36526", "is not a number from 0 to 10000"),
        ("prsn", "candx_days", "44000", "is not a number from 0 to 10000"),
        ("prsn", "dcficd", "heart attack", "is not a code of ICD-10"),
        ("covid", "result", "pos", "'pos' is not one of Positive, Negative"),
        ("lungrads", "lung_rads", "IV", "'IV' is not a category"),
        ("screen", "ctdxqual", "good", "'good' is not a number"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_by_row_and_column(tmp_path, table, column, text, message):
    name = f"tables/{table}.csv"
    spoiled = {**NLST, name: NLST[name].with_cell(0, NLST[name].names.index(column), text)}
    with pytest.raises(InputError, match=rf"{table}\.csv, line 2, {column}: .*{message}"):
        read("nlst", write(tmp_path, spoiled))


def test_categories_that_contradict_each_other_are_refused(tmp_path):
    sheet = NLST["tables/lungrads.csv"]
    other = [*sheet.rows[0][:2], "1" if sheet.rows[0][2] != "1" else "4"]
    spoiled = replace(sheet, rows=[*sheet.rows, other])
    with pytest.raises(InputError, match=rf"lungrads\.csv, line {len(sheet.rows) + 2}, lung_rads"):
        read("nlst", write(tmp_path, {**NLST, "tables/lungrads.csv": spoiled}))


CASES = Path(__file__).parents[2].parent / "shared" / "cases"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nlst_n03a_float_pid_ctab", None),
        ("nlst_n10_trailing_comma_rows_ctab", r"ctab\.csv, line 2, after the last column: 13 cells"),
        ("nlst_n28_negative_dia", r"ctab\.csv, line 2, sct_long_dia: '-35' is not a number from"),
        ("openm3chest_o08_slice_null", r"trainval\.json, record 0, labels\.nodules\.0\.slice: not a number"),
    ],
)
def test_a_shared_case_is_read_or_refused(tmp_path, case, message):
    archive = CASES / f"{case}.tar.gz"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not beside the repository")
    import tarfile

    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    kind = case.split("_")[0]
    if message is not None:
        with pytest.raises(InputError, match=message):
            read(kind, tmp_path)
        return
    exams = read(kind, tmp_path)
    assert len(exams) == 13
    assert sum(len(exam.nodules) for exam in exams) == 15


def test_a_decimal_comma_in_the_shared_case_is_refused(tmp_path):
    archive = CASES / "nlst_n18_decimal_comma_pkyr.tar.gz"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not beside the repository")
    import tarfile

    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    prsn = tmp_path / "tables" / "prsn.csv"
    # The archive holds the table as it was corrected: its first pack-years are 66.0.
    prsn.write_text(prsn.read_text().replace(",66.0,", ',"66,0",', 1))
    with pytest.raises(InputError, match=r"prsn\.csv, line 2, pkyr: '66,0' is not a number"):
        read("nlst", tmp_path)
