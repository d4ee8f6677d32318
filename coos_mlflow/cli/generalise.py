"""The command `coos generalise`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coos_mlflow.cli.comparisons import (
    AUTO,
    Asked,
    DryRun,
    FirstSeed,
    Rows,
    Search,
    Seeds,
    fill,
    name_files,
    stdout,
)
from coos_mlflow.cli.options import Data, DropBad, Force, Preset, Scale, TrackingUri, use_store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = ("cells", "differences", "worlds")
"""Sections that the terminal shows; the others are in the files."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(generalise)


def generalise(
    data: Data = AUTO,
    preset: Preset = AUTO,
    scale: Scale = 0.1,
    seed: FirstSeed = 0,
    seeds: Seeds = 3,
    rows: Rows = "*",
    search: Search = AUTO,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("generalise"),
    drop_bad: DropBad = False,
    dry_run: DryRun = False,
    force: Force = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare all models with the paper's, on other plates too.

    Left-out Training plates choose the paper's best model and the champion. Writes
    OUT/generalise.{csv,md,html} and an MLflow run. Begun again after an interruption, it goes on
    where it was.

    Example: coos generalise --rows 'texture-*' --scale 0.05 --seeds 1
    """
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.training.data import described
        from coos_mlflow.training.generalise import files
        from coos_mlflow.training.generalise.rows import all_lines

    asked = Asked(data, preset, scale, seed, seeds, rows, search, drop_bad, dry_run, force)
    described(data)
    comparison = fill(asked, all_lines(preset), out, files.PAGES)
    if comparison is not None:
        print_comparison(files.summarise(comparison), stdout())
        name_files(out, files.PAGES)


def print_comparison(summary: dict[str, Any], console: Console) -> None:
    """Print the main tables of the comparison.

    Parameters
    ----------
    summary : dict
        From `coos_mlflow.training.generalise.summary.summarise`.
    """
    from rich.text import Text

    if summary["simulated"]:
        console.print(Text(summary["simulated"], style="bold yellow"))
    console.print(Text(summary["caption"], style="bold"))
    console.print(Text(summary["intro"]))
    for section in summary["sections"]:
        if section["key"] in _SHOWN:
            _print_section(section, summary["rows"], console)
    for table in summary["remedies"]:
        _print_remedies(table, console)
    for mark in summary["marks"]:
        console.print(Text(f"{mark[0].upper()} {mark}" if mark[0].isalpha() else mark))


def _empty_table(title: str, first: str, headings: Iterable[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"\n{title}", style="bold")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(Text(heading), justify="right")
    return table


def _print_remedies(remedies: dict[str, Any], console: Console) -> None:
    """Print a line for each test set, since there are more of these than remedies."""
    lines = remedies["lines"]
    table = _empty_table(remedies["title"], "change", (line["title"] for line in lines))
    for number, heading in enumerate(remedies["headings"]):
        cells = (_cell(line["cells"][number] | {"small": ""}) for line in lines)
        table.add_row(heading, *cells)
    console.print(table)


def _print_section(section: dict[str, Any], rows: list[dict[str, Any]], console: Console) -> None:
    from rich.text import Text

    table = _empty_table(section["title"], "row", section["headings"])
    for row in rows:
        if row["opens"]:
            table.add_row(Text("not in the paper:", style="italic"))
        letters = "".join(mark[0].upper() for mark in row["marks"])
        seen = "†" if row["model"].endswith("†") else ""
        name = Text(f"{row['key']}{seen} {letters}".strip(), style="bold green" if letters else "")
        if row["cells"] is None:
            table.add_row(name, Text(row["missing"], style="yellow"))
            continue
        table.add_row(name, *(_cell(cell) for cell in row["cells"][section["key"]]))
    console.print(table)


def _cell(cell: dict[str, Any]) -> Any:
    from rich.text import Text

    text = Text(cell["text"].replace(" ± ", "±"), style="bold" if cell["bold"] else "")
    if cell["small"]:
        text.append(f"\n{cell['small']}", style="dim")
    return text
