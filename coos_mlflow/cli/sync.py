"""The command `coos sync`: log what a tracking store did not take when it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from coos_mlflow.cli.options import TrackingUri, use_store
from coos_mlflow.errors import DataError, RegistryError, RunNotLoggedError

if TYPE_CHECKING:
    from filelock import FileLock

    from coos_mlflow.registry.outbox import KeptRow
    from coos_mlflow.scoring.record import Note, Results


class _Waiting(NamedTuple):
    """Something that waits to be logged."""

    title: str
    store: str
    """Where it was to be logged; empty where that is not known."""
    lock: FileLock
    send: Callable[[], str | None]
    """Logs it and returns what to say; None where another process has done so."""


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
    waiting = list(_waiting(folders or []))
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
            typer.echo(_sent(one))
        except RegistryError as error:
            failed.append(str(error))
    if failed:
        raise RunNotLoggedError("\n".join(failed))


def _sent(one: _Waiting) -> str:
    from filelock import Timeout

    try:
        with one.lock.acquire(timeout=0):
            return one.send() or f"{one.title} was logged by another process"
    except Timeout:
        return f"{one.title} is being logged by another process"


def _waiting(folders: list[Path]) -> Iterator[_Waiting]:
    from coos_mlflow.registry import outbox, versions
    from coos_mlflow.scoring import record

    for row in outbox.all_rows():
        yield _Waiting(str(row), row.store, row.held(), partial(_send_row, row))
    noted = record.notes()
    for note in noted:
        if note.results is None:
            typer.echo(
                f"{note.folder} holds no such results any more, or those of another release of "
                f"this package; if they are gone, {note.file} can be deleted"
            )
        else:
            send = partial(_send_noted, note)
            yield _Waiting(str(note.folder), note.store, note.held(), send)
    for results in _results_in(folders):
        if results.folder.resolve() in {note.folder for note in noted}:
            continue
        with versions.answers():
            run_id = record.find_run(results)
        if run_id:
            typer.echo(f"{results.folder} is logged already, as run {run_id}")
        else:
            lock = record.Note.of(results).held()
            yield _Waiting(str(results.folder), "", lock, partial(_send_results, results))


def _send_row(row: KeptRow) -> str | None:
    from coos_mlflow.registry import outbox

    there = outbox.KeptRow(row.folder).is_whole  # read anew, now that no other process has it
    return f"registered {outbox.send(row)}" if there else None


def _send_noted(note: Note) -> str | None:
    if note.results is None or not note.file.exists():
        return None
    said = _send_results(note.results)
    note.forget()
    return said


def _send_results(results: Results) -> str:
    from coos_mlflow.scoring import record

    return f"logged {results.folder} as run {record.send(results)}"


def _results_in(folders: list[Path]) -> list[Results]:
    from coos_mlflow.scoring import record

    found = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder, expected the --out folder of a scoring.")
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        found += [results for path in [folder, *inside] if (results := record.results_in(path))]
    return found
