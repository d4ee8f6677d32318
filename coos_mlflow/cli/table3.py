"""The command `coos table3`."""

from __future__ import annotations

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
    from rich.text import Text

_NUMBER = 5
"""Characters of an error, as many as in its heading."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(table3)


def table3(
    data: Data = AUTO,
    preset: Preset = AUTO,
    scale: Scale = 0.1,
    seed: FirstSeed = 0,
    seeds: Seeds = 1,
    rows: Rows = "*",
    search: Search = AUTO,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the files; by default table3, or the data set's name."),
    ] = None,
    drop_bad: DropBad = False,
    dry_run: DryRun = False,
    force: Force = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Fill the paper's Table 3, training what is missing.

    Writes OUT/table3.{csv,md,html}, OUT/errors.png, OUT/confusions/ and an MLflow run. Begun again
    after an interruption, it goes on where it was.

    Example: coos table3 --rows 'texture-*' --scale 0.05
    """
    use_store(tracking_uri)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.training.data import described
        from coos_mlflow.training.table3 import files
        from coos_mlflow.training.table3.rows import all_lines

    asked = Asked(data, preset, scale, seed, seeds, rows, search, drop_bad, dry_run, force)
    pages = files.pages_of(described(data))
    out = out or Path(pages.name)
    table = fill(asked, all_lines(preset), out, pages)
    if table is not None:
        print_table(files.summarise(table), stdout())
        name_files(out, pages)


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print our errors beside the published ones, in at most 100 columns.

    Intervals and layers are on a second line of each row, since they do not fit beside the errors.

    Parameters
    ----------
    summary : dict
        From `coos_mlflow.training.table3.summary.summarise`.
    """
    from rich.table import Table
    from rich.text import Text

    ours, *others = summary["groups"]
    theirs = [group for group in others if group["key"] == "published"]
    number = max(_NUMBER, *(len(heading) for heading in summary["headings"]))
    cells = [cell for row in summary["rows"] for cell in row["cells"]["ours"] or ()]
    wide = max([number, *(len(_tight(c[part])) for c in cells for part in ("text", "small"))])
    below = any(cell["small"] for cell in cells)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.add_column("\nFeatures")
    table.add_column("\nModel")
    for group, width in ((ours, wide), *((group, number) for group in theirs)):
        heads = " ".join(f"{heading:>{width}}" for heading in summary["headings"])
        table.add_column(f"{group['title']}\n{heads}", no_wrap=True)
    for place, row in enumerate(summary["rows"]):
        if row["first"] and place:
            table.add_row()
        made, papers = row["cells"]["ours"], [row["cells"][group["key"]] for group in theirs]
        table.add_row(
            Text(("\n" if below else " ").join(filter(None, (row["features"], row["layer"])))),
            Text(row["model"]),
            _numbers(made, wide) if made else Text(row["missing"], style="yellow"),
            *(_numbers(paper, number) if paper else Text() for paper in papers),
        )
    if summary["simulated"]:
        console.print(Text(summary["simulated"], style="bold yellow"))
    console.print(Text(summary["caption"], style="bold"))
    console.print(Text(summary["intro"]))
    console.print(table)
    for note in summary["notes"]:
        console.print(Text(note))


def _numbers(cells: list[dict[str, Any]], width: int) -> Text:
    """Return errors right-justified, the best in bold, with their intervals below."""
    from rich.text import Text

    errors = Text(" ").join(
        Text(f"{_tight(cell['text']):>{width}}", style="bold green" if cell["bold"] else "")
        for cell in cells
    )
    if any(cell["small"] for cell in cells):
        errors.append("\n" + " ".join(f"{cell['small']:>{width}}" for cell in cells), style="dim")
    return errors


def _tight(text: str) -> str:
    return text.replace(" ", "")
