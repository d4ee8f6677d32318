"""The command `coos sync`: log what a tracking store did not take when it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli_options import TrackingUri, use_store
from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError

if TYPE_CHECKING:
    from coos_mlflow.scored import Results


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(sync)


def sync(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of results (--out of coos-score) whose runs are logged too where they "
            "are missing; by default what failed on this machine."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be logged, log nothing.")
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Log trained models and scorings that were finished while the tracking store was away.

    Trained models wait in COOS_CACHE, scorings in their --out folders; a network whose training
    stopped goes on by the command that trained it.

    Example: coos sync --tracking-uri http://registry:5000

    Example: coos sync scores --dry-run
    """
    use_store(tracking_uri)
    from coos_mlflow.progress import progress

    with progress("Starting"):
        from coos_mlflow import kept_rows, scored
        from coos_mlflow.tracking.runs import prepare_store

        uri = prepare_store()
    rows = list(kept_rows.all_rows())
    results = {r.folder.resolve(): r for r in [*scored.unsent(), *_results_in(folders or [])]}
    if not rows and not results:
        typer.echo(f"nothing waits to be logged in {uri}")
        return
    failed = []
    for row in rows:
        if dry_run:
            typer.echo(f"would log and register {row}")
            continue
        try:
            typer.echo(f"registered {kept_rows.send(row)}")
        except RegistryError as error:
            failed.append(str(error))
    for found in results.values():
        if dry_run:
            typer.echo(f"would log {found.folder}, unless its run is there")
            continue
        try:
            typer.echo(f"logged {found.folder} as run {scored.send(found)}")
        except RegistryError as error:
            failed.append(str(error))
    if failed:
        raise RunNotLoggedError("\n".join(failed))


def _results_in(folders: list[Path]) -> list[Results]:
    from coos_mlflow import scored

    found = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder, expected the --out folder of a scoring.")
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        found += [results for path in [folder, *inside] if (results := scored.results_in(path))]
    return found
