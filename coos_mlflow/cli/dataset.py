"""The commands `coos dataset init` and `coos dataset check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.errors import DataError, OutputError, UnusableCellsError

if TYPE_CHECKING:
    from rich.console import Console

    from coos_mlflow.plates.dataset import Dataset
    from coos_mlflow.training.data_check import SplitCheck

_PLATES_ACROSS = 8
"""Most plates that have a column of their own in the table of a split."""


def register(app: typer.Typer) -> None:
    """Add the group `coos dataset` to an app."""
    group = typer.Typer(
        help="Describe a folder of your own cells, and check it.\n\n"
        "Example: coos dataset init mydata",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(init)
    group.command()(check)
    app.add_typer(group, name="dataset")


def init(
    folder: Annotated[Path, typer.Argument(help="Folder with plate files (HDF5).")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the file, write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write FOLDER/dataset.yaml from what lies in the folder.

    Nothing is asked: each line explains itself, and is to be corrected with an editor where the
    guess is wrong. A folder with a folder of TIFF images for each class is described too.

    Example: coos dataset init mydata
    """
    from coos_mlflow._utils.progress import progress

    with progress("Looking at the files"):
        from coos_mlflow.plates.dataset_file import DATASET_FILE, dataset_text, write_dataset
        from coos_mlflow.plates.dataset_init import describe_folder

        target = folder / DATASET_FILE
        if target.exists() and not (force or dry_run):
            raise OutputError(f"{target}: is there already; --force replaces it.")
        dataset, remarks = describe_folder(folder)
    if dry_run:
        typer.echo(dataset_text(dataset, remarks), nl=False)
        return
    write_dataset(dataset, target, remarks)
    typer.echo(f"{target}  {_words(dataset)}")
    typer.echo(f"Correct it where a guess is wrong, then run: coos dataset check {folder}")


def _words(dataset: Dataset) -> str:
    references = len(dataset.references)
    noun = "reference split" if references == 1 else "reference splits"
    return f"{dataset.n_classes} classes, crops of {dataset.crop} pixels, {references} {noun}"


def check(
    folder: Annotated[Path, typer.Argument(help="Folder with dataset.yaml and plate files.")],
) -> None:
    """Say what a data set holds, what it is too small for, and what keeps it from training.

    Looks for classes without cells or on one plate only, and for wells or nuclei that are both in
    the training split and in a reference.

    Example: coos dataset check mydata
    """
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from rich.console import Console
        from rich.text import Text

        from coos_mlflow.plates.splits import find_data
        from coos_mlflow.training.data_check import check_data

    data = find_data(folder)
    try:
        found = check_data(data)
    except UnusableCellsError as error:
        raise DataError(f"{error} `coos train --drop-bad` leaves such cells out.") from error
    console = Console(highlight=False)
    console.print(Text(f"{data.name}: {_words(data.dataset)}, wells: {data.dataset.wells}"))
    for split in found.splits:
        _print_split(split, data.dataset, console)
    for remark in found.remarks:
        console.print(Text(remark, style="yellow"), soft_wrap=True)
    if found.faults:
        raise DataError("\n".join(found.faults))
    console.print(Text("The data can train and test models.", style="green"))


def _print_split(split: SplitCheck, dataset: Dataset, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"\n{split.title}", style="bold")
    across = split.by_plate if len(split.by_plate) <= _PLATES_ACROSS else {}
    for heading in ("class", "cells", "wells", "plates", *across):
        table.add_column(Text(heading), justify="left" if heading == "class" else "right")
    for label, name in enumerate(dataset.class_names):
        counts = [split.cells[label], split.wells[label], split.plates[label]]
        counts += [cells[label] for cells in across.values()]
        table.add_row(Text(name), *(f"{count:,}" if count else "-" for count in counts))
    console.print(table)
    if split.unlabelled:
        console.print(f"and {split.unlabelled:,} cells without a label")
