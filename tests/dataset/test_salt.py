"""The salt: another one is another dataset, and it shows nowhere."""

import pytest
from chests import PATIENTS, UID, Chests
from pydantic import ValidationError

from m3fm.config.presets import preset
from m3fm.config.sections import SALT_VARIABLE, CurateConfig, RunConfig
from m3fm.core.artifacts import Reference
from m3fm.core.errors import InputError
from m3fm.dataset.curate import curate
from m3fm.privacy.pseudonyms import SHORTEST, Salt, check_source, with_fingerprint

SECRET = "correct horse battery staple"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv(SALT_VARIABLE, SECRET)


def test_hashes_are_of_a_salt_a_kind_and_an_identifier():
    hashes = {Salt(s).hashed(kind, uid) for s in "ab" for kind in ("exam", "series") for uid in "12"}
    assert len(hashes) == 8
    assert Salt("a").hashed("exam", "1") == Salt("a").hashed("exam", "1")


def test_without_the_variable_it_is_that_of_simulated_patients(monkeypatch):
    monkeypatch.delenv(SALT_VARIABLE, raising=False)
    assert Salt.of_environment() == Salt("m3fm")
    default = with_fingerprint(CurateConfig())
    monkeypatch.setenv(SALT_VARIABLE, SECRET)
    assert Salt.of_environment() == Salt(SECRET)
    assert with_fingerprint(CurateConfig()).salt_fingerprint == Salt(SECRET).fingerprint
    assert with_fingerprint(CurateConfig()).digest() != default.digest(), (
        "another salt is another configuration"
    )


def test_it_is_not_shown(secret):
    run = preset("tiny")
    assert RunConfig.model_validate_json(run.to_json()) == run
    for shown in (run.to_json(), repr(run), repr(Salt(SECRET)), str(Salt(SECRET)), Salt(SECRET).fingerprint):
        assert SECRET not in shown


def test_in_a_file_it_is_refused_without_being_repeated():
    with pytest.raises(ValidationError) as refusal:
        CurateConfig.model_validate({"salt": SECRET})
    assert SALT_VARIABLE in refusal.value.errors()[0]["msg"]


@pytest.mark.parametrize("salt", [None, "m3fm", "a" * (SHORTEST - 1)])
def test_real_patients_need_one_of_their_own(tmp_path, monkeypatch, salt):
    monkeypatch.delenv(SALT_VARIABLE, raising=False)
    if salt is not None:
        monkeypatch.setenv(SALT_VARIABLE, salt)
    with pytest.raises(InputError, match=SALT_VARIABLE) as refusal:
        check_source("nlst", tmp_path)
    assert salt is None or salt == "m3fm" or salt not in str(refusal.value)
    (tmp_path / "cohort.json").write_text("{}")
    check_source("nlst", tmp_path)
    (tmp_path / "cohort.json").unlink()
    monkeypatch.setenv(SALT_VARIABLE, "a" * SHORTEST)
    check_source("nlst", tmp_path)


def test_a_plain_folder_of_dicom_is_only_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(SALT_VARIABLE, raising=False)
    check_source("dicom", tmp_path)
    assert "warning: M3FM_SALT is not set" in capsys.readouterr().err
    monkeypatch.setenv(SALT_VARIABLE, SECRET)
    check_source("dicom", tmp_path)
    assert capsys.readouterr().err == ""


def test_a_step_with_another_salt_than_its_run_is_refused(images, tmp_path, monkeypatch):
    config = CurateConfig(salt_fingerprint=Salt("another one").fingerprint)
    monkeypatch.setenv(SALT_VARIABLE, SECRET)
    with pytest.raises(InputError, match="fingerprint") as refusal:
        curate(Chests(images, PATIENTS), tmp_path / "dataset", config, workers=1)
    assert SECRET not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_it_makes_another_dataset_and_is_in_none_of_its_files(images, curated, tmp_path, secret, capfd):
    import pandas as pd

    out = tmp_path / "dataset"
    curate(Chests(images, PATIENTS), out, CurateConfig(), workers=2)
    assert Reference.to(out).digest != Reference.to(curated).digest
    usual, other = (pd.read_parquet(path / "series.parquet") for path in (curated, out))
    assert not set(usual["series"]) & set(other["series"])
    assert not set(usual["patient"]) & set(other["patient"])
    assert Salt("m3fm").hashed("series", f"{UID}7.0") in set(usual["series"])
    assert Salt(SECRET).hashed("series", f"{UID}7.0") in set(other["series"])
    assert sorted(usual["status"]) == sorted(other["status"])
    printed = "".join(capfd.readouterr()).encode()
    files = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in (printed, *files))
