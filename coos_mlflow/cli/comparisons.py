"""What `coos table3` and `coos generalise` share: their options, and how their rows are filled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from coos_mlflow.training.table3.pages import Pages
    from coos_mlflow.training.table3.rows import Line

AUTO = "auto"

_WIDTH = 100
"""Characters of a table, also on a narrower terminal."""

Measured = TypeVar("Measured")

FirstSeed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="First seed, and that of simulated data.")
]
Seeds = Annotated[
    int, typer.Option(min=1, max=1000, help="How many seeds to train with, on the same data.")
]
Rows = Annotated[str, typer.Option(help="Rows to fill, such as 'texture-*,pci-conv3-lr'.")]
Search = Annotated[
    str, typer.Option(help="Of the forests: random, halving, or auto (the preset's).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the rows, train and write nothing.")]


@dataclass(frozen=True)
class Asked:
    """The options of a command, as they were given."""

    data: str
    preset: str
    scale: float
    seed: int
    seeds: int
    rows: str
    search: str
    drop_bad: bool
    dry_run: bool
    force: bool


def fill(asked: Asked, lines: list[Line], out: Path, pages: Pages[Measured]) -> Measured | None:
    """Check the options, then fill the rows; a dry run lists them and returns None.

    Parameters
    ----------
    asked : Asked
    lines : list of Line
        All rows, of which `asked` takes some.
    out : Path
        Folder for the files.
    pages : Pages
        What is measured of the rows, and written.
    """
    from coos_mlflow._utils.files import check_folder
    from coos_mlflow.classifiers.protocol import check_protocol, choose_preset
    from coos_mlflow.cli import tables
    from coos_mlflow.training.data import choose
    from coos_mlflow.training.table3.rows import choose_lines

    settings: dict[str, Any] = {} if asked.search == AUTO else {"search": asked.search}
    seeds = _seeds(asked.seed, asked.seeds)
    check_protocol(asked.preset, settings)
    lines = choose_lines(lines, asked.rows)
    check_folder(out, asked.force, pages.files)
    if asked.dry_run:
        _print_lines(lines, asked.preset, seeds)
        return None
    data = choose(asked.data, asked.scale, asked.seed, drop_bad=asked.drop_bad)
    tables.say_data(data, choose_preset(asked.preset, data))
    typer.echo(_seed_words(seeds))
    return pages.make(
        lines,
        data,
        out,
        preset=asked.preset,
        seeds=seeds,
        settings=settings,
        force=asked.force,
        say=lambda words: typer.echo(words, err=True),
    )


def name_files(out: Path, pages: Pages[Any]) -> None:
    """Print the paths of the files that were written."""
    for name in pages.files:
        if (out / name).exists():
            typer.echo(str(out / name))


def _print_lines(lines: list[Line], preset: str, seeds: range) -> None:
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
    typer.echo(f"{len(lines)} rows, each with {_seed_words(seeds)}")
    for key, lack in sorted(lacks.items()):
        if lack:
            typer.echo(f"{key}: {lack.sentence}")


def _seeds(first: int, count: int) -> range:
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


def _seed_words(seeds: range) -> str:
    """Return the seeds in words, with their number."""
    listed = ", ".join(map(str, seeds))
    return f"seed {listed}" if len(seeds) == 1 else f"n = {len(seeds)} seeds ({listed})"


def stdout() -> Console:
    """Return a console that is wide enough for all numbers, even on a narrow terminal."""
    from rich.console import Console

    return Console(highlight=False, width=max(_WIDTH, Console().width))
