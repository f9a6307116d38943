"""The compiled pipelines: valid, without anything to install, and with data passed by reference."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.components import load_component_from_file
from kfp.pipeline_spec import pipeline_spec_pb2

from m3fm.pipeline.steps import CHAIN
from m3fm_kfp.components import IMAGE
from m3fm_kfp.pipelines.compile import PIPELINES, main


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ir")
    main(directory)
    return directory


@pytest.fixture(params=sorted(PIPELINES))
def documents(request, directory: Path) -> list[dict]:
    return list(yaml.safe_load_all((directory / f"{request.param}.yaml").read_text()))


def test_is_a_valid_pipeline_specification(documents):
    spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    assert set(spec.root.dag.outputs.parameters) >= {"dataset", "bundle", "model"}


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_kubeflow_loads_it(directory, name):
    loaded = load_component_from_file(str(directory / f"{name}.yaml"))
    assert set(loaded.component_spec.inputs) >= {"config", "state"}


def test_nothing_is_installed_at_run_time(documents):
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == IMAGE
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_steps_share_one_volume(documents):
    mounted = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(mounted) == set(documents[0]["deploymentSpec"]["executors"])


def test_only_curation_takes_the_salt_and_from_a_secret(documents):
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    secrets = {name: found["secretAsEnv"] for name, found in executors.items() if "secretAsEnv" in found}
    assert list(secrets) == ["exec-curate"]
    (secret,) = secrets["exec-curate"]
    assert secret["keyToEnv"] == [{"secretKey": "salt", "envVar": "M3FM_SALT"}]
    assert secret["optional"]


def test_data_travel_by_reference(documents):
    for name, task in documents[0]["root"]["dag"]["tasks"].items():
        assert "artifacts" not in task["inputs"], f"{name} takes data through the pipeline's store"


def test_the_store_is_the_one_cache(documents):
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())
    assert set(tasks) - {"simulate"} == set(CHAIN) - {"simulate"}


def test_nothing_learns_from_a_dataset_that_has_not_passed(documents):
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert {"validate", "version"} <= set(tasks["pretrain"]["dependentTasks"])
    assert "pretrain" in tasks["train"]["dependentTasks"]
    assert {"evaluate", "export"} <= set(tasks["register"]["dependentTasks"])
