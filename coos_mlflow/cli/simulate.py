"""The commands that make and show simulated cells: simulate, simulate-plate, contact-sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coos_mlflow.cli.options import Force, Seed
from coos_mlflow.errors import DataError


def register(app: typer.Typer) -> None:
    """Add the commands to `coos`."""
    app.command()(simulate)
    app.command()(simulate_plate)
    app.command()(contact_sheet)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the five files.")],
    scale: Annotated[float, typer.Option(help="1 is the size of COOS-7: 132,209 cells.")] = 0.1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate a data set like COOS-7, in five splits.

    The splits drift further and further away from Training.

    Example: coos simulate data --scale 0.05 --seed 1
    """
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    planned = planned_cells(scale)
    with progress("Simulating", total=sum(planned.values()), unit="cells") as advance:
        paths = simulate_dataset(out, scale, seed, on_progress=advance, force=force)
    for split, path in paths.items():
        typer.echo(f"{path}  {planned[split]:,} simulated cells")


def simulate_plate(
    out: Annotated[Path, typer.Argument(help="The plate file to write.")],
    like: Annotated[
        str,
        typer.Option(
            help="training, test1, test2, test3 or test4: the split whose plates it is like; "
            "test1 is drawn like training, since Test1 is cells of the Training wells."
        ),
    ] = "training",
    classes: Annotated[
        str, typer.Option(help="Labels on the plate, such as 0,4.")
    ] = "0,1,2,3,4,5,6",
    wells: Annotated[int, typer.Option(min=1, help="Wells for each class.")] = 8,
    cells: Annotated[int, typer.Option(min=1, help="Cells in a well.")] = 100,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate one new plate, like the plates of a split.

    Example: coos simulate-plate new_plate.h5 --like test3 --classes 0,4 --seed 7
    """
    from coos_mlflow import simulate as simulator
    from coos_mlflow._utils.progress import progress

    labels = _labels(classes)
    total = len(labels) * wells * cells
    with progress("Simulating", total=total, unit="cells") as advance:
        simulator.simulate_plate(
            out,
            like=like,
            classes=labels,
            seed=seed,
            wells_per_class=wells,
            cells_per_well=cells,
            on_progress=advance,
            force=force,
        )
    typer.echo(f"{out}  {total:,} simulated cells like {like}")


def contact_sheet(
    folder: Annotated[Path, typer.Argument(help="A data set: a folder with the five files.")],
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    composite: Annotated[
        bool, typer.Option("--composite", help="Protein in green over the nucleus in blue.")
    ] = False,
    force: Force = False,
) -> None:
    """Draw example cells of a data set, classes by splits.

    Example: coos contact-sheet data sheet.png
    """
    from coos_mlflow.simulate import contact_sheet as draw

    draw(folder, out, composite=composite, force=force)
    typer.echo(str(out))


def _labels(text: str) -> list[int]:
    from coos_mlflow.plates.schema import CLASSES

    parts = [part.strip() for part in text.split(",")]
    known = {str(label) for label in range(len(CLASSES))}
    if not set(parts) <= known or len(set(parts)) < len(parts):
        raise DataError(f"--classes {text!r} found, expected different labels 0..6, such as 0,4.")
    return [int(part) for part in parts]
