"""What speaks against the labels though no figure shows it, in the same words on every page.

Open it to change what a reader is told of classes that are lost, not judged or unknown.
"""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift import SHIFTED
from coos_mlflow.drift.error_estimate import AT_LEAST, MEASURED, lacks_some
from coos_mlflow.drift.estimators import estimators
from coos_mlflow.reports.plate import sensitivity
from coos_mlflow.reports.plate.dataset import class_names, splits
from coos_mlflow.reports.plate.wording import MAX_NAMED, counted, estimate, plate_words, shown

ALWAYS_A_CLASS = (
    "The model gives every cell one of the classes that it knows, even a cell of none of them."
)

MIN_SHARE = 0.02
"""Smallest share of the labels of a class that is called present; any plate has a few mistakes."""


def assumptions(drift: dict[str, Any]) -> str:
    """Return the assumptions of the estimated error as "if ... and ...", or an empty string."""
    error = drift["error"]
    if error["answer"] == MEASURED or estimate(error)["value"] is None:
        return ""
    known = f"all cells are of the {len(drift['dataset']['classes'])} classes"
    if estimators()[drift["error_record"]["chosen"]].needs_wells:
        return f"if each well holds one protein and {known}"
    return f"if {known}"


def doubts(drift: dict[str, Any]) -> list[str]:
    """Return sentences on classes that are missing, not judged or unknown, and missed shifts."""
    found = [
        _adapted(drift),
        _missing(drift),
        "" if drift.get("audit") else _untold(drift),
        _not_judged(drift),
    ]
    if drift["verdict"] != SHIFTED:
        titles = {key: split["title"] for key, split in splits(drift).items()}
        found.append(sensitivity.warning(drift["reference"]["sensitivity"], titles))
    # A person has looked for cells of no known class.
    if drift["error"]["answer"] != MEASURED and not drift.get("audit"):
        found.append(ALWAYS_A_CLASS)
    return [sentence for sentence in found if sentence]


def _adapted(drift: dict[str, Any]) -> str:
    """Say that the model was adapted, and what is told of the version before instead."""
    adapted = drift["model"].get("adapted")
    if adapted is None:
        return ""
    name, version = drift["model"]["name"], drift["model"]["version"]
    own = adapted["sha256"] == drift["plate_file"]["sha256"]
    plate = "this plate" if own else f"another plate, {shown(adapted['plate'])}"
    return (
        f"{name} version {version} was adapted to {plate}. Errors on known plates, and the labels "
        f"with which distances compare, are those of version {adapted['version']}."
    )


def _missing(drift: dict[str, Any]) -> str:
    """Name the classes that no well is decided for, where most are there and no map names them."""
    names, missing = class_names(drift), drift["error"]["missing"]
    if drift["error"]["answer"] == MEASURED or not lacks_some(missing, len(names)):
        return ""
    controls = drift["controls"] or {"missing": []}
    expected = {one["class"] for one in controls["missing"]}
    lost = [names[label] for label in missing if label not in expected]
    if not lost:
        return ""
    none = "the plate has none" if len(drift["plates"]) == 1 else "no plate has any"
    return f"No well was read as {_listed(lost, 'or')}: either {none}, or its wells are misread."


def _listed(names: list[str], last: str) -> str:
    """Return "A, B or C"."""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _untold(drift: dict[str, Any]) -> str:
    error, names = drift["error"], class_names(drift)
    if not error["untold"] or estimate(error)["how"] != AT_LEAST:
        return ""
    untold = [names[label] for label in error["untold"]]
    are = "is" if len(untold) == 1 else "are"
    return f"How well {_listed(untold, 'and')} {are} recognised cannot be told."


def _not_judged(drift: dict[str, Any]) -> str:
    known = compared_classes(drift)
    unknown = set(range(len(class_names(drift)))) - known
    found = [
        _not_judged_because("too few cells", known, drift),
        _not_judged_because("on too few Training plates", unknown, drift),
    ]
    return " ".join(filter(None, found))


def _not_judged_because(reason: str, labels: set[int], drift: dict[str, Any]) -> str:
    names, several = class_names(drift), len(drift["plates"]) > 1
    found = [(plate["plate"], not_judged_words(plate, names, labels)) for plate in drift["plates"]]
    parts = [
        f"{plate_words(plate)}: {words}" if several else words for plate, words in found if words
    ]
    more = f" and {len(parts) - MAX_NAMED} more plates" if len(parts) > MAX_NAMED else ""
    return f"Not judged, {reason}: {'; '.join(parts[:MAX_NAMED])}{more}." if parts else ""


def compared_classes(drift: dict[str, Any]) -> set[int]:
    """Return the labels of the classes that enough Training plates carry."""
    ladder = drift["reference"]["ladder"]["training"]
    return {label for plate in ladder for label in plate["classes"]}


def not_judged_words(plate: dict[str, Any], names: list[str], labels: set[int]) -> str:
    """Return those of some classes that were not judged on a plate, with their cells."""
    shares = plate["class_shares"]["predicted"]
    return ", ".join(
        f"{names[one['class']]} ({counted(one['n_cells'], 'cell')})"
        for one in plate["not_judged"]
        if one["class"] in labels and shares[one["class"]] >= MIN_SHARE
    )
