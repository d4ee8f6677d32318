"""The command `coos audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coos_mlflow.cli.options import Labeller, PlateFile, TrackingUri, labeller_of, use_store
from coos_mlflow.errors import ConditionMetError, DataError, RunNotLoggedError
from coos_mlflow.scoring import conditions as fail_on

CELLS = 50
"""Cells of a sheet."""


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(audit)


def audit(
    folder: Annotated[Path, typer.Argument(help="Results of a plate, such as scores/new_plate.")],
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="CSV",
            help="Take the labels of a sheet that --export wrote: names of classes or their "
            "numbers, none of these, cannot see; empty where a cell was left out. All or none.",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="CSV",
            help="Only write the next cells to label into a new sheet, for a spreadsheet.",
        ),
    ] = None,
    cells: Annotated[
        int | None, typer.Option(min=1, help=f"Of --export: how many; default {CELLS}.")
    ] = None,
    labeller: Labeller = None,
    plate: PlateFile = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CONDITION",
            help="End with exit code 4 when measured-error>5: the error, measured on labelled "
            "cells, may be above 5 %. Others as of coos score. Repeat it for several.",
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Show the error that labelled cells measure.

    The cells were drawn at random, so nothing is assumed of how the plate has shifted. Labels come
    from `coos label`, or from a spreadsheet by --export and --import. drift.json, report.html,
    report.md and the MLflow run are brought up to date.

    Example: coos audit scores/new_plate

    Example: coos audit scores/new_plate --export cells.csv --cells 50

    Example: coos audit scores/new_plate --import cells.csv --labeller Ada

    Example: coos audit scores/new_plate --fail-on 'measured-error>5'
    """
    use_store(tracking_uri)
    parsed = fail_on.parse(conditions or [])
    who = labeller_of(labeller)
    _check(folder, sheet, export, cells)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.audit.lock import locked
        from coos_mlflow.labelling.publish import drift_of

    drift_of(folder)  # refuses other folders, beside which no file of a lock is to be made
    with locked(folder):
        drift = drift_of(folder)
        if export is not None:
            _export(folder, drift, export, who, cells or CELLS)
            return
        drift = _published(folder, drift, sheet, who, plate)
    _show(drift)
    if met := fail_on.violations(drift, parsed):
        raise ConditionMetError("\n".join(met))


def _check(folder: Path, sheet: Path | None, export: Path | None, cells: int | None) -> None:
    """Refuse what can be seen to be wrong before anything is imported."""
    if sheet is not None and export is not None:
        raise DataError("--import and --export found, expected one of them at a time.")
    if cells is not None and export is None:
        raise DataError(f"--cells {cells} found without --export; expected --export CSV beside it.")
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected the results of a plate, as coos-score writes them."
        )
    if sheet is not None and not sheet.is_file():
        raise DataError(f"{sheet}: no such file; expected a sheet that --export wrote.")


def _export(folder: Path, drift: dict[str, Any], path: Path, labeller: str, n: int) -> None:
    from coos_mlflow.labelling.sheet import answer_words, export_sheet

    written = export_sheet(folder, drift, path, labeller, n)
    typer.echo(f"{path}  {written:,} cells for {labeller}; fill in the column label:")
    typer.echo(answer_words(drift))
    typer.echo("or none of these, cannot see, or nothing; keep all lines and columns.")


def _published(
    folder: Path, drift: dict[str, Any], sheet: Path | None, labeller: str, plate: Path | None
) -> dict[str, Any]:
    """Take in a sheet where there is one, and make the results anew."""
    from coos_mlflow.audit.labels_file import read_labels, sample_of
    from coos_mlflow.labelling.publish import plate_file, publish_from
    from coos_mlflow.labelling.sheet import import_sheet
    from coos_mlflow.registry.results import AUDIT
    from coos_mlflow.scoring.audited import audit_entry

    if sheet is None and drift.get("audit") is None:
        labels = read_labels(folder / AUDIT, sample_of(drift))
        if not labels:
            raise DataError(
                f"{folder}: no labelled cells yet; `coos label {folder}` opens a page for it, and "
                "--export writes a sheet for a spreadsheet."
            )
    path = plate_file(folder, drift, plate)
    if sheet is not None:
        brought = import_sheet(folder, drift, sheet, labeller)
        typer.echo(
            f"{sheet}: {brought.added:,} labels of {labeller} added, {brought.empty:,} lines "
            f"without a label skipped, {brought.known:,} labels were there already."
        )
    try:
        return publish_from(folder, path)
    except RunNotLoggedError:
        _show(drift | {"audit": audit_entry(folder, drift)})
        raise


def _show(drift: dict[str, Any]) -> None:
    from coos_mlflow.cli import tables

    if drift["audit"] is None:
        typer.echo("There is no labelled cell that could be judged, so nothing is measured.")
    else:
        tables.show_audit(drift)
