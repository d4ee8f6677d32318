"""The commands that make and show simulated cells: simulate, simulate-plate, contact-sheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coos_mlflow.cli.options import Force, Seed
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.fields.writers import WrittenField
    from coos_mlflow.plates.dataset import Dataset
    from coos_mlflow.simulate import WholeField


def register(app: typer.Typer) -> None:
    """Add the commands to `coos`."""
    app.command()(simulate)
    app.command()(simulate_plate)
    app.command()(contact_sheet)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
    scale: Annotated[
        float | None,
        typer.Option(help="1 is the size of COOS-7: 132,209 cells; by default 0.1."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="A dataset.yaml: simulate made-up classes with its names and splits."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Simulate this number of made-up classes, from 2.")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(help="Of --classes: pixels on a side, 32 to 256; by default 64."),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(min=0, help="Of --classes: number of reference splits, by default 2."),
    ] = None,
    plates: Annotated[
        int | None,
        typer.Option(min=1, help="Of made-up classes: plates of a split, by default 4."),
    ] = None,
    wells: Annotated[
        int | None,
        typer.Option(min=1, help="Of made-up classes: wells of a class on a plate, by default 4."),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(min=1, help="Of made-up classes: cells in a well, by default 40."),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate a data set like COOS-7, or of made-up classes.

    The splits drift further and further away from Training. Made-up classes are for trying things
    out before there are cells of your own; --dataset or --classes asks for them.

    Example: coos simulate data --scale 0.05 --seed 1

    Example: coos simulate made-up --classes 12 --crop 48 --references 2

    Example: coos simulate trial --dataset my_folder/dataset.yaml
    """
    size = _given(plates=plates, wells=wells, cells=cells)
    shape = _given(crop=crop, references=references)
    if dataset is None and classes is None:
        _refuse(shape | size, "without --classes or --dataset")
        _simulate_coos7(out, 0.1 if scale is None else scale, seed, force)
        return
    if scale is not None:
        _refuse({"scale": scale}, "with made-up classes, sized by --plates, --wells and --cells")
    if dataset is not None:
        _refuse(shape | _given(classes=classes), "with --dataset")
    _simulate_described(out, _description(dataset, classes, shape), size, seed, force)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _refuse(options: Mapping[str, object], where: str) -> None:
    """Refuse options that have no meaning beside the others."""
    for name, value in options.items():
        raise DataError(f"--{name.replace('_', '-')} {value} found {where}; leave it out.")


def _description(dataset: Path | None, classes: int | None, shape: dict[str, int]) -> Dataset:
    from coos_mlflow.plates.dataset_file import read_dataset
    from coos_mlflow.simulate import made_up_dataset

    return read_dataset(dataset) if dataset else made_up_dataset(classes or 0, **shape)


def _simulate_coos7(out: Path, scale: float, seed: int, force: bool) -> None:
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    planned = planned_cells(scale)
    with progress("Simulating", total=sum(planned.values()), unit="cells") as advance:
        paths = simulate_dataset(out, scale, seed, on_progress=advance, force=force)
    for split, path in paths.items():
        typer.echo(f"{path}  {planned[split]:,} simulated cells")


def _simulate_described(
    out: Path, dataset: Dataset, size: dict[str, int], seed: int, force: bool
) -> None:
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.simulate import Size, simulate_described

    asked = Size(**size)
    total = asked.total(dataset)
    with progress("Simulating", total=total, unit="cells") as advance:
        files = simulate_described(out, dataset, asked, seed, on_progress=advance, force=force)
    each = total // len(files)
    for split, paths in files.items():
        count = f"{len(paths)} file" + "s" * (len(paths) != 1)
        typer.echo(f"{dataset.title(split)}: {count}, {each:,} simulated cells")
    typer.echo(f"{out / 'dataset.yaml'}  {dataset.n_classes} classes of {dataset.name}")


def simulate_plate(
    out: Annotated[Path, typer.Argument(help="The plate file, or the folder of images.")],
    like: Annotated[
        str,
        typer.Option(
            help="training, test1, test2, test3 or test4: the split of COOS-7 whose plates it is "
            "like; test1 is drawn like training, since it is cells of the same wells. wild: every "
            "factor far out, other physics on top. defocus, haze, dim, background, gain or pixel: "
            "like training but for this cause."
        ),
    ] = "training",
    classes: Annotated[
        str, typer.Option(help="Labels on the plate, such as 0,4.")
    ] = "0,1,2,3,4,5,6",
    wells: Annotated[int, typer.Option(min=1, help="Wells for each class.")] = 8,
    cells: Annotated[
        int | None, typer.Option(min=1, help="Cells in a well; by default 100.")
    ] = None,
    fields: Annotated[
        int,
        typer.Option(min=0, help="Whole fields in a well; 0 writes a plate file of cells."),
    ] = 0,
    format: Annotated[  # noqa: A002
        str | None,
        typer.Option(help="Of fields: ome_zarr, harmony or tiff; by default ome_zarr."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Of fields: pixels on a side; by default 1080.")
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Of fields: micrometres; by default 0.3225 as with 40x; 0.645 is 20x."),
    ] = None,
    density: Annotated[
        str | None,
        typer.Option(
            help="Of fields: cells in an area, by default 1; 0 is empty, 0.25 sparse, 2.3 "
            "overgrown. Wells take several in turn, such as 1,1,0."
        ),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate one new plate, like those of a split or wild.

    With --fields it writes whole fields of view as an instrument does. PLATE_truth.csv beside the
    folder has the class and centre of each nucleus. The label images are written too.

    Example: coos simulate-plate new_plate.h5 --like test3 --classes 0,4 --seed 7

    Example: coos simulate-plate wild.h5 --like wild --seed 7

    Example: coos simulate-plate plate42 --fields 2 --format harmony --density 1,1,0
    """
    labels = _labels(classes)
    plate = {"like": like, "classes": labels, "seed": seed, "wells_per_class": wells}
    view = _given(format=format, size=size, pixel_size=pixel_size, density=density)
    if fields:
        _refuse(_given(cells=cells), "with --fields")
        _simulate_fields(out, plate, fields, view, force)
    else:
        _refuse(view, "without --fields")
        _simulate_cells(out, plate, 100 if cells is None else cells, force)


def _simulate_cells(out: Path, plate: dict[str, Any], cells: int, force: bool) -> None:
    from coos_mlflow import simulate as simulator
    from coos_mlflow._utils.progress import progress

    total = len(plate["classes"]) * plate["wells_per_class"] * cells
    with progress("Simulating", total=total, unit="cells") as advance:
        simulator.simulate_plate(
            out, **plate, cells_per_well=cells, on_progress=advance, force=force
        )
    typer.echo(f"{out}  {total:,} simulated cells like {plate['like']}")


EXCITATION_NM = (488.0, 640.0)
"""Laser lines of protein and nucleus dye, the usual ones for GFP and DRAQ5."""

TRUTH_COLUMNS = ("well", "field", "object", "class", "centre_y", "centre_x")


def _simulate_fields(
    out: Path, plate: dict[str, Any], fields: int, view: dict[str, Any], force: bool
) -> None:
    from coos_mlflow import simulate as simulator
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.errors import OutputError
    from coos_mlflow.fields.plate_images import Channel
    from coos_mlflow.fields.writers import write_plate
    from coos_mlflow.simulate import layout, microscope

    truth = out.with_name(f"{out.stem}_truth.csv")
    if truth.exists() and not force:
        raise OutputError(f"{truth}: exists already; choose another name or use --force.")
    side, pixel_size_um = view.get("size", 1080), view.get("pixel_size", microscope.PIXEL_UM)
    drawn = simulator.simulate_fields(
        **plate,
        fields_per_well=fields,
        size=(side, side),
        pixel_size_um=pixel_size_um,
        density=_densities(view.get("density", "1")),
    )
    emission = (microscope.PROTEIN_EMISSION_UM, microscope.NUCLEUS_EMISSION_UM)
    channels = [
        Channel(name, excitation, round(1000 * emitted))
        for name, excitation, emitted in zip(("GFP", "DRAQ5"), EXCITATION_NM, emission, strict=True)
    ]
    total = len(plate["classes"]) * plate["wells_per_class"] * fields
    rows: list[tuple[object, ...]] = []
    with progress("Simulating", total=total, unit="fields") as advance:
        write_plate(
            out,
            _written(drawn, rows, advance),
            format=view.get("format", "ome_zarr"),
            channels=channels,
            pixel_size_um=pixel_size_um,
            shape=(layout.ROWS, layout.COLUMNS),
            simulated=True,
            force=force,
        )
    _write_truth(truth, rows)
    typer.echo(f"{out}  {total:,} simulated fields like {plate['like']}")
    typer.echo(f"{truth}  {len(rows):,} nuclei")


def _written(
    fields: Iterable[WholeField],
    rows: list[tuple[object, ...]],
    advance: Callable[[int], None],
) -> Iterator[WrittenField]:
    """Yield simulated fields as a writer takes them, and add what is true of them to `rows`."""
    from coos_mlflow.fields.writers import WrittenField

    for one in fields:
        nuclei = zip(one.classes.tolist(), one.centres.round(2).tolist(), strict=True)
        for number, (label, centre) in enumerate(nuclei, 1):
            rows.append((one.well, one.number, number, label, *centre))
        yield WrittenField(one.plate, one.well, one.number, one.counts, one.labels)
        advance(1)


def _write_truth(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """Write the table of nuclei."""
    from coos_mlflow._utils.files import whole_file
    from coos_mlflow.errors import OutputError

    try:
        with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(TRUTH_COLUMNS)
            table.writerows(rows)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _densities(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DataError(
            f"--density {text!r} found, expected numbers with commas between, such as 1,1,0."
        ) from error


def contact_sheet(
    folder: Annotated[Path, typer.Argument(help="A data set: a folder with its plate files.")],
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
    from coos_mlflow.plates.dataset import coos7

    parts = [part.strip() for part in text.split(",")]
    known = [str(one.label) for one in coos7().classes]
    if not set(parts) <= set(known) or len(set(parts)) < len(parts):
        raise DataError(
            f"--classes {text!r} found, expected different labels {known[0]}..{known[-1]}, such as "
            "0,4."
        )
    return [int(part) for part in parts]
