"""The command `coos sync`: log models and scorings that the tracking store did not accept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli.options import TrackingUri, use_store
from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError

if TYPE_CHECKING:
    from coos_mlflow.registry.outbox import Pending, PendingRun
    from coos_mlflow.registry.results import Results


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(sync)


def sync(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of results (--out of coos-score) whose runs are logged too where none "
            "says that they lie there; by default what failed on this machine."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be logged, log nothing.")
    ] = False,
    any_store: Annotated[
        bool,
        typer.Option("--any-store", help="Log here also what was made for another tracking store."),
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Log what was finished while the tracking store was away.

    Trained models wait in COOS_CACHE, scorings in their --out folders; a network whose training
    stopped goes on by the command that trained it.

    Example: coos sync --tracking-uri http://registry:5000

    Example: coos sync scores --dry-run
    """
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.registry import project_run
        from coos_mlflow.registry.runs import prepare_store

        project_run.leave("and what waits was made by other commands")
        store = prepare_store(make=not dry_run)
    waiting = list(_pending(folders or []))
    ours = [one for one in waiting if any_store or one.store in ("", store)]
    for one in waiting:
        if one not in ours:
            typer.echo(f"{one.title} waits for {one.store}; --any-store logs it here")
    if not ours:
        typer.echo(f"nothing waits to be logged in {store}")
    failed = []
    for one in ours:
        if dry_run:
            typer.echo(f"would log {one.title}")
            continue
        try:
            typer.echo(_logged(one))
        except RegistryError as error:
            failed.append(str(error))
    if failed:
        raise RunNotLoggedError("\n".join(failed))


def _logged(pending: Pending) -> str:
    from filelock import Timeout

    try:
        with pending.lock().acquire(timeout=0):
            return pending.log() or f"{pending.title} was logged by another process"
    except Timeout:
        return f"{pending.title} is being logged by another process"


def _pending(folders: list[Path]) -> Iterator[Pending]:
    """Yield all pending models and runs; print those that cannot be logged, or were before."""
    from coos_mlflow.registry import outbox

    yield from outbox.pending_models()
    runs = outbox.pending_runs()
    for run in runs:
        if run.results is None:
            typer.echo(
                f"{run.folder} holds no such results any more, or those of another release of "
                f"this package; if they are gone, {run.file} can be deleted"
            )
        else:
            yield run
    known = {run.folder for run in runs}
    yield from _unknown_runs([r for r in _results_in(folders) if r.folder.resolve() not in known])


def _unknown_runs(results: list[Results]) -> Iterator[PendingRun]:
    """Yield the runs of results that are not pending on this machine, unless the store has them."""
    from coos_mlflow.registry import outbox, scoring_runs, versions

    for one in results:
        with versions.registry_errors():
            run_id = scoring_runs.find_run(one)
        if run_id:
            typer.echo(f"{one.folder} is logged already, as run {run_id}")
        else:
            yield replace(outbox.PendingRun.of(one), store="")


def _results_in(folders: list[Path]) -> list[Results]:
    from coos_mlflow.registry.results import results_in

    found = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder, expected the --out folder of a scoring.")
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        found += [results for path in [folder, *inside] if (results := results_in(path))]
    return found
