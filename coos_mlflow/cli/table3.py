"""The command `coos table3`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coos_mlflow.cli.options import DropBad, TrackingUri, use_store
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from coos_mlflow.training.table3.rows import Line

AUTO = "auto"

_WIDTH = 100
_NUMBER = 5
"""Characters of an error, as many as in its heading."""


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(table3)


def table3(
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
    ] = 1,
    rows: Annotated[
        str, typer.Option(help="Rows to fill, such as 'texture-*,pci-conv3-lr'.")
    ] = "*",
    search: Annotated[
        str, typer.Option(help="Of the forests: random, halving, or auto (the preset's).")
    ] = AUTO,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the files; by default table3, or the data set's name."),
    ] = None,
    drop_bad: DropBad = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the rows, train and write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace results that are there already.")
    ] = False,
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
        from coos_mlflow._utils.files import check_folder
        from coos_mlflow.classifiers.protocol import check_protocol, choose_preset
        from coos_mlflow.cli import tables
        from coos_mlflow.training.data import choose, described
        from coos_mlflow.training.table3 import files
        from coos_mlflow.training.table3.rows import all_lines, choose_lines

    settings: dict[str, Any] = {} if search == AUTO else {"search": search}
    wanted = seeds_from(seed, seeds)
    check_protocol(preset, settings)
    lines = choose_lines(all_lines(preset), rows)
    dataset = described(data)
    out = out or Path(files.name_of(dataset))
    check_folder(out, force, files.files_of(dataset))
    if dry_run:
        print_lines(lines, preset, wanted)
        return
    chosen = choose(data, scale, seed, drop_bad=drop_bad)
    tables.say_data(chosen, choose_preset(preset, chosen))
    typer.echo(seed_words(wanted))
    table = files.make(
        lines,
        chosen,
        out,
        preset=preset,
        seeds=wanted,
        settings=settings,
        force=force,
        say=lambda words: typer.echo(words, err=True),
    )
    print_table(files.summarise(table), stdout())
    for name in files.files_of(chosen.dataset):
        typer.echo(str(out / name))


def print_lines(lines: list[Line], preset: str, seeds: range) -> None:
    """Print the rows, and the files or packages that some of them lack."""
    from coos_mlflow.representations import create
    from coos_mlflow.training.table3.rows import lack_of

    lacks = {
        key: lack_of(create(key, preset, **dict(settings)), varied=bool(settings))
        for key, settings in {line.source for line in lines}
    }
    width = max(len(line.key) for line in lines)
    for line in lines:
        typer.echo(f"{line.key:{width}}  {line.title}")
    typer.echo(f"{len(lines)} rows, each with {seed_words(seeds)}")
    for key, lack in sorted(lacks.items()):
        if lack:
            typer.echo(f"{key}: {lack.sentence}")


def seeds_from(first: int, count: int) -> range:
    """Return so many seeds in sequence.

    Raises
    ------
    DataError
        When the last one is too large.
    """
    wanted = range(first, first + count)
    if wanted[-1] >= 2**32:
        raise DataError(f"--seed {first} --seeds {count} found; the last seed passes 4294967295.")
    return wanted


def seed_words(seeds: range) -> str:
    """Return the seeds in words, with their number."""
    listed = ", ".join(map(str, seeds))
    return f"seed {listed}" if len(seeds) == 1 else f"n = {len(seeds)} seeds ({listed})"


def print_table(summary: dict[str, Any], console: Console) -> None:
    """Print our errors beside the published ones, in at most `_WIDTH` columns.

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


def stdout() -> Console:
    """Return a console that is wide enough for all numbers, even on a narrow terminal."""
    from rich.console import Console

    return Console(highlight=False, width=max(_WIDTH, Console().width))
