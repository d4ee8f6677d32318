"""The command `coos generalise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coos_mlflow.cli.options import DropBad, TrackingUri, use_store
from coos_mlflow.cli.table3 import AUTO, print_lines, seed_words, seeds_from, stdout

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = ("cells", "differences", "worlds")
"""Sections that the terminal shows; the others are in the files."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(generalise)


def generalise(
    data: Annotated[
        str,
        typer.Option(
            help="auto (COOS-7 where it is on disk, else simulated), simulated, a folder."
        ),
    ] = AUTO,
    preset: Annotated[
        str, typer.Option(help="paper, quick, or auto (paper on real data, quick on simulated).")
    ] = AUTO,
    scale: Annotated[float, typer.Option(help="Of simulated data; 1 is the size of COOS-7.")] = 0.1,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="First seed, and that of simulated data.")
    ] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="How many seeds to train with, on the same data.")
    ] = 3,
    rows: Annotated[
        str, typer.Option(help="Rows to fill, such as 'texture-*,pci-conv3-lr'.")
    ] = "*",
    search: Annotated[
        str, typer.Option(help="Of the forests: random, halving, or auto (the preset's).")
    ] = AUTO,
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("generalise"),
    drop_bad: DropBad = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the rows, train and write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace results that are there already.")
    ] = False,
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
        from coos_mlflow._utils.files import check_folder
        from coos_mlflow.classifiers.protocol import check_protocol, choose_preset
        from coos_mlflow.cli import tables
        from coos_mlflow.training.data import choose, described
        from coos_mlflow.training.generalise import files
        from coos_mlflow.training.generalise.rows import all_lines
        from coos_mlflow.training.generalise.summary import summarise
        from coos_mlflow.training.table3.rows import choose_lines

    settings: dict[str, Any] = {} if search == AUTO else {"search": search}
    wanted = seeds_from(seed, seeds)
    check_protocol(preset, settings)
    lines = choose_lines(all_lines(preset), rows)
    described(data)
    check_folder(out, force, files.FILES)
    if dry_run:
        print_lines(lines, preset, wanted)
        return
    chosen = choose(data, scale, seed, drop_bad=drop_bad)
    tables.say_data(chosen, choose_preset(preset, chosen))
    typer.echo(seed_words(wanted))
    comparison = files.make(
        lines,
        chosen,
        out,
        preset=preset,
        seeds=wanted,
        settings=settings,
        force=force,
        say=lambda words: typer.echo(words, err=True),
    )
    print_comparison(summarise(comparison), stdout())
    for name in files.FILES:
        if (out / name).exists():
            typer.echo(str(out / name))


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
    for mark in summary["marks"]:
        console.print(Text(f"{mark[0].upper()} {mark}" if mark[0].isalpha() else mark))


def _print_section(section: dict[str, Any], rows: list[dict[str, Any]], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"\n{section['title']}", style="bold")
    table.add_column("row", no_wrap=True)
    for heading in section["headings"]:
        table.add_column(Text(heading), justify="right")
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
