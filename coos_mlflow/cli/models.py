"""The commands `coos models list`, `show`, `compare`, `promote`, `prune` and `relocate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli.options import TrackingUri, use_store
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.registry.inspect import Version

Model = Annotated[
    str,
    typer.Argument(help="texture-lr (its champion), texture-lr@alias, texture-lr/3, models:/..."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a line instead of the table.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and say, change nothing.")]


def register(app: typer.Typer) -> None:
    """Add the group `coos models` to an app."""
    group = typer.Typer(
        help="Look at, compare, promote and delete registered models.\n\n"
        "Example: coos models list texture-lr",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(list_models)
    for command in (show, compare, promote, prune, relocate):
        group.command()(command)
    app.add_typer(group, name="models")


def list_models(
    name: Annotated[
        str | None, typer.Argument(help="All versions of this model; default every champion.")
    ] = None,
    as_json: AsJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """List champions with their errors, or all versions of a model.

    Example: coos models list --tracking-uri sqlite:///demo/mlflow.db

    Example: coos models list texture-lr
    """
    with _registry(tracking_uri) as store:
        from coos_mlflow.cli import model_tables
        from coos_mlflow.registry import versions
        from coos_mlflow.registry.inspect import champions, versions_of
        from coos_mlflow.registry.ranking import best_of

        headless: list[str] = []
        if name:
            listed = versions_of(versions.name_alone(name))
        else:
            listed, headless = champions()
    if as_json:
        best = [] if name else best_of(version.model for version in listed).values()
        for version in listed:
            marked = {} if name else {"best": version.model in best}
            typer.echo(json.dumps(version.as_dict() | marked))
    elif name:
        model_tables.show_versions(listed, f"Versions of {name}")
    else:
        model_tables.show_champions(listed, headless, store)


def show(model: Model, as_json: AsJson = False, tracking_uri: TrackingUri = None) -> None:
    """Show one version: its data, settings, errors, aliases, files.

    Example: coos models show texture-lr@champion
    """
    with _registry(tracking_uri):
        from coos_mlflow.cli import model_tables
        from coos_mlflow.registry.inspect import details_of

        details = details_of(model)
    if as_json:
        typer.echo(json.dumps(details.as_dict()))
    else:
        model_tables.show_details(details)


def compare(
    models: Annotated[
        list[str], typer.Argument(help="Two or more; the others are held against the first.")
    ],
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare versions by their errors and settings.

    Errors are shown by split with their intervals, and of the settings those that differ.

    Example: coos models compare texture-lr/1 texture-lr/2 texture-rf
    """
    with _registry(tracking_uri):
        from coos_mlflow.cli import model_tables
        from coos_mlflow.registry import comparison

        compared = comparison.compare(models)
    model_tables.show_comparison(compared)


def promote(
    model: Model,
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "champion",
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Lift a pin: training chooses again, at once.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also simulated after real data, fewer classes after more."),
    ] = False,
    dry_run: DryRun = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Move an alias to a version and pin it there.

    Training then does not move it back.

    Example: coos models promote texture-lr/3 --alias champion

    Example: coos models promote texture-lr --automatic
    """
    with _registry(tracking_uri):
        from coos_mlflow.cli import model_tables
        from coos_mlflow.registry import manage

        if automatic:
            moved = manage.release(model, alias, dry_run=dry_run)
        else:
            moved = manage.promote(model, alias, force=force, dry_run=dry_run)
    model_tables.show_move(moved, dry_run=dry_run)


def prune(
    model: Annotated[
        str, typer.Argument(help="A model, such as texture-lr, or one version, texture-lr/3.")
    ],
    keep: Annotated[
        int | None, typer.Option(min=0, help="How many of the newest versions stay; default 3.")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(min=0, metavar="DAYS", help="Only versions made so many days ago or more."),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="Delete the runs that trained them too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Delete versions that no alias points to.

    `mlflow gc` then frees the disk.

    Example: coos models prune texture-lr --keep 5 --older-than 90 --dry-run

    Example: coos models prune texture-lr/3 --yes
    """
    with _registry(tracking_uri) as store:
        from coos_mlflow.cli import model_tables
        from coos_mlflow.registry import manage, versions

        doomed = _doomed(model, keep, older_than)
    if not doomed:
        typer.echo(f"Nothing to delete: every version of {model} has an alias or is too new.")
        return
    model_tables.show_versions(doomed, "To be deleted")
    if dry_run or not _agreed(len(doomed), yes):
        return
    deleted = False
    for version in doomed:
        with versions.registry_errors():
            pruned = manage.delete(version, with_run=runs)
        model_tables.show_pruned(pruned)
        deleted = deleted or pruned.deleted
    if deleted:
        model_tables.show_freeing(store)


def relocate(
    old: Annotated[Path, typer.Argument(help="Where the store says that the folder is.")],
    new: Annotated[Path, typer.Argument(help="Where it is.")],
    dry_run: DryRun = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Tell a SQLite store to which folder its files were moved.

    The files stay as they are; of a store on a server, the server knows the places.

    Example: coos models relocate /old/mlruns /new/mlruns --tracking-uri /new/mlflow.db
    """
    with _registry(tracking_uri) as store:
        from coos_mlflow.registry import relocation

        count = relocation.relocate(old, new, dry_run=dry_run)
    says = "would say" if dry_run else "says"
    typer.echo(f"{store} {says} {new} instead of {old}, in {count} places")


def _doomed(model: str, keep: int | None, older_than: float | None) -> list[Version]:
    """Return the versions to delete."""
    from coos_mlflow.registry import manage

    if not any(mark in model.removeprefix("models:/") for mark in "/@"):
        return manage.prunable(model, 3 if keep is None else keep, older_than)
    if keep is not None or older_than is not None:
        raise DataError(
            f"--keep or --older-than found beside the one version {model}, expected either."
        )
    return [manage.prunable_version(model)]


def _agreed(count: int, yes: bool) -> bool:
    """Ask the user whether to delete versions, unless `yes`.

    Raises
    ------
    DataError
        When stdin is no terminal.
    """
    if yes:
        return True
    if not on_a_terminal():
        raise DataError(
            "stdin is no terminal, so no question can be asked and nothing was deleted; "
            "--yes deletes."
        )
    return typer.confirm(f"Delete {count} version{'s' * (count > 1)}?")


def on_a_terminal() -> bool:
    """Return whether stdin is a terminal."""
    return sys.stdin.isatty()


@contextmanager
def _registry(tracking_uri: str | None) -> Iterator[str]:
    """Prepare the store, yield its URI, and turn MLflow's exceptions into a RegistryError."""
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Asking the registry"):
        from coos_mlflow.registry import versions
        from coos_mlflow.registry.runs import prepare_store

        with versions.registry_errors():
            yield prepare_store(make=False)
