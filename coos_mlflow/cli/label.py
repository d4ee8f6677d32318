"""The command `coos label`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.cli.options import Labeller, PlateFile, TrackingUri, labeller_of, use_store
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.labelling.app import Page

CELLS = 50

_TICK = 0.2
"""Seconds between two looks at the number of labels, for the progress in the terminal."""


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(label)


def label(
    folder: Annotated[Path, typer.Argument(help="Results of a plate, as coos-score wrote them.")],
    cells: Annotated[int, typer.Option(min=1, help="Cells to label in all.")] = CELLS,
    more: Annotated[
        int | None,
        typer.Option(min=1, help="Instead of --cells: so many more than are labelled already."),
    ] = None,
    labeller: Labeller = None,
    plate: PlateFile = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page; 0 for any that is free.")
    ] = 0,
    tracking_uri: TrackingUri = None,
) -> None:
    """Label cells of a plate on a page, to measure its error.

    A page, which this machine alone can open, shows one cell at a time. Fifty cells take some five
    minutes. Each label is kept in FOLDER/audit.csv at once, so the page can be left at any time and
    the same command goes on. At the end the report shows the error that the labels measure.

    Two people get the same cells, and the report shows how far they agree.

    Example: coos label scores/new_plate

    Example: coos label scores/new_plate --more 50

    Example: coos label scores/new_plate --labeller Ada
    """
    use_store(tracking_uri)
    who = labeller_of(labeller)
    _check(folder, plate)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.labelling.app import served
        from coos_mlflow.labelling.session import open_session
    with open_session(folder, plate, who) as session:
        asked = cells if more is None else session.n_labelled + more
        session.ask_for(asked)
        if (there := len(session.frame)) < asked:
            typer.echo(f"{asked:,} cells asked for; all {there:,} that can be labelled will be.")
        with served(session, port) as page:
            _wait(page, browser)
        _end(page)


def _check(folder: Path, plate: Path | None) -> None:
    """Refuse a folder without results, and a plate file that is gone, before long imports."""
    try:
        known = json.loads((folder / "drift.json").read_text(encoding="utf-8")).get("plate_path")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder}: no drift.json found that can be read, expected a folder of results; score "
            "the plate first."
        ) from error
    path = plate or known
    if path is not None and not os.path.isfile(path):  # noqa: PTH113 - a closed folder raises
        raise DataError(
            f"{path}: the plate file is not there, from which the pictures come; bring it back, or "
            "name its new place with --plate."
        )


def _wait(page: Page, browser: bool) -> None:
    """Show the link and the progress until the page is closed, or Ctrl-C."""
    typer.echo(f"{page.address}  labels cells as {page.session.labeller}; Ctrl-C ends it")
    with _opened(page) if browser and _has_windows() else nullcontext():
        try:
            while not page.closed.is_set():
                _show_progress(page)
        except KeyboardInterrupt:
            typer.echo("", err=True)


def _show_progress(page: Page) -> None:
    """Show the progress until the page is closed, or asks for more cells."""
    from coos_mlflow._utils.progress import progress

    shown, state = 0, page.session.progress()
    target = state["target"]
    with progress("Labelling", target, "cells") as advance:
        while state["target"] == target:
            advance(state["done"] - shown)
            shown = state["done"]
            if page.closed.wait(_TICK):
                return
            state = page.session.progress()


def _has_windows() -> bool:
    """Whether a browser has windows; one in the terminal would hide what is said there."""
    displays = {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}
    return sys.platform in ("win32", "darwin") or bool(displays)


@contextmanager
def _opened(page: Page) -> Iterator[None]:
    """Open a page in the browser by a file that leads to it, and that its owner alone can read.

    All users of a machine see the arguments of its programs, such as the link with its token.
    """
    import webbrowser

    results = page.session.folder.resolve()
    file = results.with_name(f".{results.name}.page.html")
    try:
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
            text.write(f'<meta http-equiv="refresh" content="0; url={page.address}">')
        webbrowser.open(file.as_uri())
        yield
    finally:
        file.unlink(missing_ok=True)


def _end(page: Page) -> None:
    """Measure what is labelled, and print it."""
    from coos_mlflow.cli import tables

    folder = page.session.folder
    if not page.session.n_labelled:
        typer.echo(f"{folder}: no cell is labelled.")
        return
    drift = page.publish()
    if drift["audit"] is None:
        typer.echo(f"{folder}: no labelled cell could be judged.")
        return
    tables.show_audit(drift)
    typer.echo(str(folder / "report.html"))
    if page.unlogged:
        raise page.unlogged
