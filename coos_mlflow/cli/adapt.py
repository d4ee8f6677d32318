"""The command `coos adapt`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli.options import TrackingUri, use_store
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.labelling.adapt.plate import Outcome


def register(app: typer.Typer) -> None:
    """Add `coos adapt` to an app."""
    app.command()(adapt)


def adapt(
    folder: Annotated[Path, typer.Argument(help="Results of coos-score, with labelled cells.")],
    plate: Annotated[
        Path | None, typer.Option(help="The plate file, if it is no longer where it was scored.")
    ] = None,
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

    labels, chosen = found.labels, found.choice.chosen
    lines = [
        f"{found.parent}: {len(labels.rows)} cells of {found.plate.name} labelled by "
        f"{labels.labeller}"
    ]
    if labels.strangers:
        lines.append(f"{labels.strangers} cells of no known class cannot teach and are left out.")
    if found.n_controls:
        lines.append(f"{found.n_controls} cells of control wells teach too, and are not judged.")
    lines += [
        f"Only one labelled cell is {name}; it teaches, and is not judged."
        for name in found.not_judged
    ]
    lines += [
        f"All labelled cells of {name} are in one well; its error may look too small."
        for name in found.in_one_well
    ]
    lines.append("Balanced error on left-out wells:")
    lines += [
        f"  {trial.remedy.title}, penalty {trial.strength:g}: {trial.error:.1f} %"
        for trial in found.choice.trials
    ]
    gain = found.choice.gain
    if gain is None:
        return [*lines, "No class has two labelled cells, so nothing can be judged."]
    change = gain.change
    ends = "" if change.low is None else f" ({change.low:+.1f} to {change.high:+.1f})"
    lines += [
        f"Balanced error on labelled cells that had no part in the choice, with 95 % intervals: "
        f"{interval_words(gain.before)} before, {interval_words(gain.after)} after, "
        f"{change.value:+.1f} points{ends}"
    ]
    if chosen is None:
        return [*lines, "Nothing helped more than chance would, so no version was registered."]
    lines.append(f"Chosen: {chosen.remedy.title}, {chosen.remedy.meaning}")
    if found.model is None:
        return [*lines, "Nothing was registered (--dry-run)."]
    named = f"{found.model.name}@{found.model.alias}"
    options = (found.plate, "--model", named, "--out", folder.parent / "adapted")
    return [
        *lines,
        f"Registered as {found.model.name} version {found.model.version}, {named}",
        f"Score the plate with it: {shlex.join(['coos-score', *map(str, options)])}",
    ]
