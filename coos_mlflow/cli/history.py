"""The command `coos drift history`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from coos_mlflow.cli.options import TrackingUri, use_store


def register(app: typer.Typer) -> None:
    """Add the group `coos drift` to an app."""
    group = typer.Typer(
        help="Look back at the plates that a model has scored.\n\n"
        "Example: coos drift history --model texture-lr",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(history)
    app.add_typer(group, name="drift")


def history(
    model: Annotated[
        str,
        typer.Option(help="texture-lr (all its versions), texture-lr@alias, texture-lr/3."),
    ],
    since: Annotated[
        datetime | None, typer.Option(help="Leave out what was scored before, in UTC.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the newest; default all.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw it too, into this .png or .svg file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line instead of the table.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a figure that is there already.")
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """List scored plates with verdicts and errors, the newest last.

    Example: coos drift history --model texture-lr --since 2026-01-01 --figure history.png
    """
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.cli import tables
        from coos_mlflow.registry.scoring_runs import read_history
        from coos_mlflow.reports import history_figure

    if figure:
        history_figure.check_file(figure, force)
    with progress(f"Reading the runs of {model}"):
        runs = read_history(model, since, limit)
    if runs.empty:
        typer.echo(_nothing_words(model, since), err=as_json)
        return
    if as_json:
        typer.echo(runs.to_json(orient="records", lines=True, date_format="iso"), nl=False)
    else:
        tables.show_history(runs, model)
    if figure:
        history_figure.write(runs, figure, model, force=force)
        typer.echo(str(figure), err=as_json)


def _nothing_words(model: str, since: datetime | None) -> str:
    from coos_mlflow.registry.runs import store_name

    store = store_name()
    if since:
        return f"{model} has scored no plate since {since:%Y-%m-%d %H:%M} (UTC) in {store}."
    return f"{model} has scored no plate yet in {store}; `coos-score` scores some."
