"""M3FM: a platform for the medical multimodal multitask foundation model of lung cancer screening.

    import m3fm

    model = m3fm.load("bundle")
    answers = model.predict("folder-of-dicom", clinical={"age": 61, "pack_years": 40})
    answers["lung_cancer_risk"].probabilities

Research software, not a medical device. What stands here is imported when it is first used, so `import m3fm`
is quick and loads no library; nothing of it needs torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3fm.clinical.records import Nodule
    from m3fm.clinical.tasks import TASKS
    from m3fm.core.errors import InputError
    from m3fm.ct.read import read_ct
    from m3fm.ct.volume import Series
    from m3fm.deploy.answer import Answer
    from m3fm.deploy.predictor import load
    from m3fm.deploy.pull import pull

__version__ = "0.1.0"

__all__ = ["TASKS", "Answer", "InputError", "Nodule", "Series", "__version__", "load", "pull", "read_ct"]

_HOMES = {
    "Answer": "m3fm.deploy.answer",
    "InputError": "m3fm.core.errors",
    "Nodule": "m3fm.clinical.records",
    "Series": "m3fm.ct.volume",
    "TASKS": "m3fm.clinical.tasks",
    "load": "m3fm.deploy.predictor",
    "pull": "m3fm.deploy.pull",
    "read_ct": "m3fm.ct.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
