"""The command `coos adapt`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli.options import PlateFile, TrackingUri, use_store
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.labelling.adapt.plate import Outcome


def register(app: typer.Typer) -> None:
    """Add `coos adapt` to an app."""
    app.command()(adapt)


def adapt(
    folder: Annotated[Path, typer.Argument(help="Results of coos-score, with labelled cells.")],
    plate: PlateFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try and say, register nothing.")
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Adapt the model of a scored plate by labelled cells.

    Registers a version for this plate alone, unless nothing helps. It never becomes champion by
    itself.

    Example: coos adapt scores/new_plate
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected one that coos-score wrote, such as "
            "scores/new_plate."
        )
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.labelling.adapt.plate import adapt as adapt_plate

    for line in _lines(folder, adapt_plate(folder, plate, dry_run=dry_run)):
        typer.echo(line)


def _lines(folder: Path, found: Outcome) -> list[str]:
    """Return what the command prints."""
    from coos_mlflow.labelling.adapt.register import interval_words
    from coos_mlflow.reports.plate.wording import counted

    labels, chosen = found.labels, found.choice.chosen
    lines = [
        f"{found.parent}: {counted(len(labels.rows), 'cell')} of {found.plate.name} labelled by "
        f"{labels.labeller}"
    ]
    if labels.strangers:
        strangers = counted(labels.strangers, "labelled cell")
        lines.append(f"Left out, since of no known class: {strangers}.")
    if found.n_controls:
        controls = counted(found.n_controls, "cell")
        lines.append(f"Of control wells, which teach too and are not judged: {controls}.")
    lines += [
        f"Only one labelled cell is {name}; it teaches, and is not judged."
        for name in found.not_judged
    ]
    lines += [
        f"All labelled cells of {name} are in one well; there cells are left out, not wells."
        for name in found.in_one_well
    ]
    lines.append("Balanced error on left-out wells, by which the best is chosen:")
    lines += [
        f"  {trial.remedy.title}, penalty {trial.strength:g}: {trial.error:.1f} %"
        for trial in found.choice.trials
    ]
    gain = found.choice.gain
    if gain is None:
        return [*lines, "No class has two labelled cells, so nothing can be judged."]
    change = gain.change
    lines += [
        "Balanced error on labelled cells that were left out of choice and fit, with 95 % "
        f"intervals: {interval_words(gain.before)} before, {interval_words(gain.after)} after, "
        f"{change.value:+.1f} points ({change.low:+.1f} to {change.high:+.1f})"
    ]
    if chosen is None:
        return [*lines, "Nothing helped more than chance would, so no version was registered."]
    lines.append(f"Chosen: {chosen.remedy.title}, {chosen.remedy.meaning}")
    if found.model is None:
        return [*lines, "Nothing was registered (--dry-run)."]
    named = f"{found.model.name}@{found.model.alias}"
    options = [found.plate, "--model", named, "--out", folder.parent / "adapted"]
    options += ["--wells", "mixed"] if found.mixed_wells else []
    return [
        *lines,
        f"Registered as {found.model.name} version {found.model.version}, {named}",
        f"Score the plate with it: {shlex.join(['coos-score', *map(str, options)])}",
    ]
