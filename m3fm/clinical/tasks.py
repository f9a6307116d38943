"""The table of the tasks, from which heads, losses, samples, reports and the CLI derive; without torch.

The 17 tasks and their answers are those of the paper's Fig. 3a; the two retrieval tasks are its questions
17 and 18 (Fig. 1e). `m3fm.questions.bank` marks the questions that are the authors' wording.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

YEARS = 6
"""Number of years that a risk covers, from the first after the scan."""

Loss = Literal["softmax", "hazard", "digits"]
Region = Literal["one_lung", "heart", "both_lungs"]
Modality = Literal["both", "image", "text"]
LUNGS = ("left", "right")
BOXES = ("left_lung", "right_lung", "both_lungs", "heart")
"""Regions that curation finds in every series that it keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One question to the model, and the shape of its answer."""

    name: str
    title: str
    answers: tuple[str, ...]
    """Meaning of the outputs, in order; for a hazard, the years."""
    head: str
    """Name of the head that answers it; tasks with the same shape of answer share a head's hidden layer."""
    loss: Loss = "softmax"
    scale: str | None = None
    """Image scale of CTViT; None where the task reads text alone, or images of any scale."""
    region: Region | None = None
    """Region of the body that the image shows."""
    text: bool = True
    """Whether the task reads clinical text; false in a model of images alone."""
    source: str
    """Source of its labels."""
    kind: Literal["screening", "retrieval", "transfer"] = "screening"

    @property
    def outputs(self) -> int:
        """Number of the head's outputs; a hazard has one base hazard beside those of the years."""
        return {"softmax": len(self.answers), "hazard": YEARS + 1, "digits": 30}[self.loss]

    @property
    def binary(self) -> bool:
        """Whether the answers are no and yes."""
        return self.answers == NO_YES


NO_YES = ("no", "yes")
YEAR_ANSWERS = tuple(f"{year} year{'s' if year > 1 else ''}" for year in range(1, YEARS + 1))
REPORT = "radiology report"


def _nodule(name: str, title: str, head: str, answers: tuple[str, ...]) -> Task:
    return Task(
        name=name, title=title, answers=answers, head=head, scale="nodule", region="one_lung", source=REPORT
    )


def _chest(name: str, title: str, source: str = REPORT) -> Task:
    return Task(
        name=name,
        title=title,
        answers=NO_YES,
        head="binary",
        scale="both_lungs",
        region="both_lungs",
        source=source,
    )


_TABLE = (
    _nodule("nodule_presence", "Nodule presence", "binary", NO_YES),
    _nodule("nodule_location", "Nodule location", "choice_5", ("RUL", "RML", "RLL", "LUL", "LLL")),
    _nodule("nodule_attenuation", "Nodule attenuation", "choice_3", ("solid", "ground glass", "other")),
    _nodule(
        "nodule_margin",
        "Nodule margin",
        "choice_4",
        ("spiculated", "smooth", "poorly defined", "undetermined"),
    ),
    _nodule(
        "nodule_size",
        "Nodule size",
        "choice_6",
        ("<=4 mm", "4-6 mm", "6-8 mm", "8-15 mm", "15-30 mm", ">30 mm"),
    ),
    Task(
        name="cvd_diagnosis",
        title="Cardiovascular abnormality",
        answers=NO_YES,
        head="binary",
        scale="heart",
        region="heart",
        source=REPORT,
    ),
    Task(
        name="cvd_mortality",
        title="Cardiovascular mortality",
        answers=YEAR_ANSWERS,
        head="risk",
        loss="hazard",
        scale="heart",
        region="heart",
        source="disease history, death record",
    ),
    Task(
        name="lung_cancer_risk",
        title="Lung cancer risk",
        answers=YEAR_ANSWERS,
        head="risk",
        loss="hazard",
        scale="lung_cancer",
        region="one_lung",
        source="pathology, follow-up",
    ),
    _chest("atelectasis", "Atelectasis"),
    _chest("pleural_thickening_effusion", "Pleural thickening or effusion"),
    _chest("adenopathy_mass", "Hilar or mediastinal adenopathy or mass"),
    _chest("chest_wall_abnormality", "Chest wall abnormality"),
    _chest("consolidation", "Consolidation"),
    _chest("emphysema", "Emphysema"),
    _chest("reticular_fibrosis_scar", "Reticular opacities, fibrosis or scar"),
    _chest("covid19", "COVID-19", source="RT-PCR or antigen test"),
    Task(
        name="lung_rads",
        title="Lung-RADS from the nodule report",
        answers=("1", "2", "3", "4"),
        head="choice_4",
        source="the report's category",
    ),
    Task(
        name="clinical_yes_no",
        title="Retrieval: yes or no",
        answers=NO_YES,
        head="binary",
        source="simulated clinical text",
        kind="retrieval",
    ),
    Task(
        name="clinical_number",
        title="Retrieval: number",
        answers=("hundreds", "tens", "ones"),
        head="digits",
        loss="digits",
        source="simulated clinical text",
        kind="retrieval",
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _TABLE}
"""Every task by name, in the order of the paper's Fig. 3a."""

SCREENING = tuple(task.name for task in _TABLE if task.kind == "screening")
"""Names of the paper's 17 tasks."""


def variant(names: Sequence[str] | None, modality: Modality) -> dict[str, Task]:
    """Return the tasks of a model that is trained on the named ones (None: all) with a modality.

    With `text` no task reads images; with `image` none reads text, and tasks that read text alone are left
    out.
    """
    chosen = (task for task in _TABLE if names is None or task.name in names)
    return {
        task.name: reading(task, modality) for task in chosen if modality != "image" or task.scale is not None
    }


def reading(task: Task, modality: Modality) -> Task:
    """Return a task as a model that reads images, text or both has it."""
    match modality:
        case "text":
            return replace(task, scale=None, region=None)
        case "image":
            return replace(task, text=False)
    return task


def head_slices(tasks: Iterable[Task]) -> dict[str, dict[str, slice]]:
    """Return, for each head, the slice of its outputs that belongs to each of its tasks.

    Tasks that share a head have outputs of their own: with one shared pair of outputs the findings are not
    learned, since all "yes" would need one direction.
    """
    heads: dict[str, dict[str, slice]] = {}
    for task in tasks:
        taken = heads.setdefault(task.head, {})
        start = max((part.stop for part in taken.values()), default=0)
        taken[task.name] = slice(start, start + task.outputs)
    return heads
