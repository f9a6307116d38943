"""The sentences that the text encoder reads: the clinical text of an exam, and the report of its nodules.

clinical_sentences({"age": 61.0, "gender": "Male"})   # ["The patient is 61.0 years old.", "Gender is Male."]
nodule_report([Nodule(number=1, lobe="RUL")])         # "Nodule 1: right upper lobe."

The wording is that of the paper's example (Methods: Text transformer) and of the authors' demo; sentences
that neither has are worded in the same way.
"""

from collections.abc import Iterable

from m3fm.clinical.elements import AGE_UNKNOWN, ELEMENTS, Element, Elements, had, known, years_since_quit
from m3fm.clinical.records import Nodule


def _sentence(element: Element, elements: Elements) -> str | None:
    value = elements[element.name]
    match element.kind:
        case "category":
            return element.sentence.format(value)
        case "relative":
            return element.sentence if had(elements, element.name) else None
        case "diagnosis":
            if not had(elements, element.name):
                return None
            if value is True or value == AGE_UNKNOWN:
                return f"The patient had {element.phrase}."
    if element.name == "age_quit" and (years := years_since_quit(elements)) is not None:
        return f"{years:.1f} years since quit smoking."
    return element.sentence.format(f"{float(value):.1f}")


def clinical_sentences(elements: Elements) -> list[str]:
    """Return the clinical text: one sentence per known element, none for what the patient did not have."""
    found = (_sentence(element, elements) for name, element in ELEMENTS.items() if known(elements, name))
    return [sentence for sentence in found if sentence is not None]


_LOBES = {
    "RUL": "right upper lobe",
    "RML": "right middle lobe",
    "RLL": "right lower lobe",
    "LUL": "left upper lobe",
    "LLL": "left lower lobe",
}
_UNCLEAR = {"other": "other attenuation", "undetermined": "undetermined margin"}


def _nodule_sentence(nodule: Nodule) -> str:
    diameters = [f"{mm:.1f}" for mm in (nodule.long_mm, nodule.short_mm) if mm is not None]
    parts = [_UNCLEAR.get(text, text) for text in (nodule.attenuation, nodule.margin) if text]
    parts += [_LOBES[nodule.lobe]] if nodule.lobe else []
    parts += [f"{' x '.join(diameters)} mm"] if diameters else []
    parts += ["new"] if nodule.new else []
    return f"Nodule {nodule.number}: {', '.join(parts) or 'not described'}."


def nodule_report(nodules: Iterable[Nodule]) -> str:
    """Return the text that the Lung-RADS task reads: one sentence per nodule, or "No nodule."."""
    return " ".join(map(_nodule_sentence, nodules)) or "No nodule."
