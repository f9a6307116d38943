"""A small dataset and one training that nobody disturbed, for the tests that disturb others."""

import pytest
from runs import Runs


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("runs"))
    runs.prepare()
    assert runs.start("whole").wait() == 0, runs.log("whole")
    return runs
