"""What cells that a person labelled tell: the measured error, in words and numbers."""

from __future__ import annotations

from typing import Any

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.drift.error_estimate import AT_LEAST, MEASURED
from coos_mlflow.reports.plate.controls import overall_rows, recall_row
from coos_mlflow.reports.plate.dataset import class_names
from coos_mlflow.reports.plate.doubts import assumptions
from coos_mlflow.reports.plate.wording import NO_BREAK, counted, estimate, percent, shown

MAX_USABLE_ERROR = 20.0
"""Largest balanced error, or share of wrong labels, in % at which labels are called usable."""

MAX_LABELLERS = 5
"""Largest number of people that a sentence names."""

_MORE = "More labelled cells narrow the range: `coos label --more 50`."

_HOLDS = {
    IN_RANGE: "",
    SHIFTED: "The shift does not matter for this figure: the cells were drawn at random.",
    CANNOT_TELL: "This figure needs no verdict: the cells were drawn at random.",
}


def first_error(drift: dict[str, Any]) -> dict[str, Any]:
    """Return the error of a file's first screen: the measured one where cells were labelled.

    Returns
    -------
    dict
        As `coos_mlflow.reports.plate.wording.estimate` does, with ``how_words``, such as "measured
        on 50 cells"; ``open_ended``; ``assumptions``; and ``off``, a sentence on how far the
        estimate was off.
    """
    audit = drift.get("audit")
    if audit is None:
        found = estimate(drift["error"])
        how = MEASURED if found["how"] == MEASURED else "estimated"
        told = {"how_words": how, "off": "", "assumptions": assumptions(drift)}
    else:
        found = estimate(audit | {"answer": MEASURED, "reason": _no_class(audit)})
        how = f"measured on {counted(audit['n_cells'], 'cell')}"
        told = {"how_words": how, "off": off_words(audit), "assumptions": ""}
    return {**found, **told, "open_ended": found["how"] == AT_LEAST}


def off_words(audit: dict[str, Any]) -> str:
    """Return by how many points the estimate was off, or an empty string where it is not known."""
    if audit["off"] is None:
        return ""
    points, estimated = round(audit["off"], 1), percent(audit["estimated"])
    if not points:
        return f"The estimate was {estimated} too."
    off = f"The estimate was {estimated}, {abs(points):.1f} points"
    if audit["low"] <= audit["estimated"] <= audit["high"]:
        return f"{off} {'higher' if points > 0 else 'lower'} but within this range."
    return f"{off} too {'high' if points > 0 else 'low'}."


def trust(drift: dict[str, Any]) -> tuple[str, str]:
    """Return what to do with the labels of a file, and why, from what was measured."""
    audit, error = drift["audit"], first_error(drift)
    found = f"on {counted(audit['n_cells'], 'labelled cell')} a balanced error of {error['words']}"
    more = ""
    if error["value"] is None:
        said = f"Do not use the labels: {error['reason'][0].lower()}{error['reason'][1:]}"
    else:
        ends = [max(audit[end], audit[f"wrong_{end}"]) for end in ("low", "high")]
        said, more = _usable(*ends), _MORE if ends[0] <= MAX_USABLE_ERROR < ends[1] else ""
        said = f"{said}: {found} was measured."
    strangers = _strangers(audit, drift) if audit["none"]["share"] > 0 else ""
    advice = (_HOLDS[drift["verdict"]], strangers, more)
    return said, " ".join(filter(None, advice))


def adapted_trust(drift: dict[str, Any]) -> tuple[str, str] | None:
    """Return the same of a model that was adapted to the plate, None of others."""
    adapted = drift["model"].get("adapted")
    if adapted is None or adapted["sha256"] != drift["plate_file"]["sha256"]:
        return None
    value, low, high = adapted["error"]
    if value is None:
        return None
    said = (
        f"{_usable(low, high)}: a balanced error of {_share(value, low, high)} was measured on "
        "labelled cells of this plate, left out when the model was adapted."
    )
    return said, _HOLDS[drift["verdict"]]


def _usable(low: float, high: float) -> str:
    """Return what to do with labels of which so many % are wrong."""
    if high <= MAX_USABLE_ERROR:
        return "The labels can be used"
    if low > MAX_USABLE_ERROR:
        return "Do not use the labels as they are"
    return "Check the labels before using them"


def labelled_section(drift: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a page shows of the labelled cells, None without any.

    Returns
    -------
    dict
        ``sentences``; ``level`` of the intervals in %; ``overall``, the measured balanced error
        beside the estimated one, and ``recalls`` of the classes, both as rows of `interval_rows`;
        ``axis`` of the first.
    """
    audit = drift.get("audit")
    if audit is None:
        return None
    names = class_names(drift)
    ends = (audit["high"] or 0, audit["estimated"] or 0, 5.0)
    return {
        "sentences": sentences(drift),
        "level": f"{100 * audit['level']:.0f}",
        "overall": overall_rows(audit),
        "axis": min(max(ends) * 1.1, 100.0),
        "recalls": [recall_row(audit, label, names[label]) for label in audit["classes"]],
    }


def sentences(drift: dict[str, Any]) -> list[str]:
    """Return all that labelled cells tell but for balanced error and recalls."""
    audit = drift["audit"]
    wrong = _share(audit["wrong_labels"], audit["wrong_low"], audit["wrong_high"])
    found = [_who(audit), _no_class(audit), _cannot_see(audit)]
    found += [f"Wrong labels: {wrong}.", _strangers(audit, drift), off_words(audit)]
    found += [_not_counted(audit, class_names(drift)), _agreement(audit), gap_words(audit)]
    return [sentence for sentence in found if sentence]


def gap_words(audit: dict[str, Any]) -> str:
    """Return how many cells were passed over in labelling, or an empty string."""
    if not audit["skipped"]:
        return ""
    have = "has" if audit["skipped"] == 1 else "have"
    return (
        f"{counted(audit['skipped'], 'cell')} {have} no label though later ones have; leave none "
        "out on purpose."
    )


def _who(audit: dict[str, Any]) -> str:
    n, cells = len(audit["labellers"]), counted(audit["n_cells"], "cell")
    if n == 1:
        return f"{shown(audit['labeller'])} labelled {cells}."
    listed = ", ".join(
        f"{shown(one['name'])} ({one['n_cells']:,})" for one in audit["labellers"][:MAX_LABELLERS]
    )
    more = f" and {n - MAX_LABELLERS} more" if n > MAX_LABELLERS else ""
    return (
        f"Cells were labelled by {n} people: {listed}{more}. All figures are from the labels of "
        f"{shown(audit['labeller'])} for {cells}."
    )


def _cannot_see(audit: dict[str, Any]) -> str:
    n = audit["cannot_see"]
    return f"{counted(n, 'more cell')} could not be judged and {_are(n)} left out." if n else ""


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _no_class(audit: dict[str, Any]) -> str:
    if audit["balanced_error"] is not None:
        return ""
    return "None of the labelled cells is of a class that the model knows."


def _strangers(audit: dict[str, Any], drift: dict[str, Any]) -> str:
    none, known = audit["none"], f"of none of the {len(class_names(drift))} classes"
    if none["share"] > 0:
        share = _share(*(100 * none[key] for key in ("share", "low", "high")))
        return f"Of all cells, {share} are {known}."
    return f"No labelled cell is {known}; up to {percent(100 * none['high'])} of all cells may be."


def _not_counted(audit: dict[str, Any], names: list[str]) -> str:
    """Name the classes that the measured balanced error leaves out."""
    others = [name for label, name in enumerate(names) if label not in audit["classes"]]
    if not others or audit["balanced_error"] is None:
        return ""
    return f"Not in the balanced error, for want of labelled cells: {', '.join(others)}."


def _agreement(audit: dict[str, Any]) -> str:
    common = audit["agreement"]
    if common is None:
        return ""
    kappa = "" if common["kappa"] is None else f" (Cohen's kappa {common['kappa']:.2f})"
    return (
        f"Of {counted(common['n_cells'], 'label')} that others gave to the same cells, "
        f"{100 * common['agree']:.0f}{NO_BREAK}% are the same{kappa}."
    )


def _share(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent(low)} to {percent(high)})"
