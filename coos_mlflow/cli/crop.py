"""The command `coos crop`, and the options of cropping that `coos-score` has too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coos_mlflow._utils.plugins import plugin_names
from coos_mlflow.cli.options import Dask, Force, Workers, check_dask
from coos_mlflow.errors import PlatesFailedError

if TYPE_CHECKING:
    from coos_mlflow.cropping.crop import Cropped
    from coos_mlflow.cropping.job import CropJob

_SOURCES = ", ".join(plugin_names("coos_mlflow.fields.sources"))
_SEGMENTERS = ", ".join(plugin_names("coos_mlflow.fields.segmenters"))

Source = Annotated[
    str | None,
    typer.Option(help=f"Format of the images, where looking is not enough: {_SOURCES}."),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        help="How the images are named, such as '{well}_s{field}_w{channel}.tif'; also {plate}, "
        "{row}, {column}, {z}, {time}."
    ),
]
PixelSize = Annotated[
    float | None,
    typer.Option(help="Size of the images' pixels in micrometres, where they do not give it."),
]
Protein = Annotated[
    str | None,
    typer.Option(help="Name or number of the protein's channel, where names do not tell."),
]
Nucleus = Annotated[
    str | None,
    typer.Option(help="Name or number of the nuclear dye's channel, where names do not tell."),
]
Z = Annotated[
    str,
    typer.Option(
        help="Several depths: max (their maximum), focus (the sharpest) or the number of one."
    ),
]
Illumination = Annotated[
    bool,
    typer.Option(
        "--illumination",
        help="Estimate uneven light over the plate and divide it out. Off by default, since it "
        "is a shift of its own for a model trained without it.",
    ),
]
SegmenterName = Annotated[str, typer.Option(help=f"How nuclei are found: {_SEGMENTERS}.")]
NucleusSizes = Annotated[
    str | None,
    typer.Option(
        help="Smallest and largest diameter of a nucleus in micrometres, such as 4-30, which is "
        "the default."
    ),
]
Centres = Annotated[
    str | None,
    typer.Option(
        help="Nuclei found elsewhere, in place of a segmenter: a CSV as CellProfiler writes, with "
        "Metadata_Well, Metadata_Site, Location_Center_X and Location_Center_Y."
    ),
]
Keep = Annotated[
    str,
    typer.Option(help="Fields that give cells: all, or good: those without a warning."),
]
CropPixelSize = Annotated[
    float | None,
    typer.Option(
        help="Size of the cells' pixels in micrometres, where the data set does not give it."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(crop)


def crop(
    plate: Annotated[str, typer.Argument(help="Folder, file or address of the images of a plate.")],
    out: Annotated[Path, typer.Argument(help="The plate file (HDF5) to write.")],
    dataset: Annotated[
        Path | None,
        typer.Option(help="A dataset.yaml whose crop and pixel size cells get; else COOS-7's."),
    ] = None,
    source: Source = None,
    pattern: Pattern = None,
    pixel_size: PixelSize = None,
    protein: Protein = None,
    nucleus: Nucleus = None,
    z: Z = "max",
    illumination: Illumination = False,
    segmenter: SegmenterName = "threshold",
    nucleus_size: NucleusSizes = None,
    centres: Centres = None,
    keep: Keep = "all",
    crop_size: Annotated[
        int | None, typer.Option("--crop", help="Pixels on a side, 32 to 256; else the data set's.")
    ] = None,
    crop_pixel_size: CropPixelSize = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Leave out fields that cannot be read, name them at the end, and end with exit "
            "code 5.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Open the images, say what would be done, and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with a cropping that was stopped, or begin it anew.")
    ] = True,
    dask: Dask = None,
    workers: Workers = None,
    force: Force = False,
) -> None:
    """Find the cells of images and write them as a plate file.

    OUT.fields/fields.html, beside the plate file, shows the cells that were found; look at it
    first. Stopped or killed, the same command goes on where it was.

    Example: coos crop /data/plate42 plate42.h5

    Example: coos crop /data/plate42 plate42.h5 --protein 'Alexa 488' --nucleus 'HOECHST 33342'

    Example: coos crop images plate42.h5 --pattern '{well}_{field}_{channel}.tif' --pixel-size 0.3
    """
    check_dask(dask, workers)
    from coos_mlflow.cropping.api import cell_shape
    from coos_mlflow.cropping.plan import CropOptions, open_plate_images, plan

    options = CropOptions(
        source=source,
        pattern=pattern,
        pixel_size=pixel_size,
        protein=protein,
        nucleus=nucleus,
        z=z,
        illumination=illumination,
        segmenter=segmenter,
        nucleus_size=nucleus_size,
        keep=keep,
        centres=centres,
        crop_pixel_size=crop_pixel_size,
    )
    images = open_plate_images(plate, options)
    job = plan(
        images, out, cell_shape(dataset, crop_size), options, force=force, keep_going=keep_going
    )
    say_plan(job)
    job.check_replaceable()
    job.check_complete()
    if dry_run:
        typer.echo(f"would write {out} and {job.folder}")
        return
    cropped = crop_on(job, dask, workers, resume)
    show(cropped)
    if cropped.failed:
        raise PlatesFailedError("\n".join(cropped.failed))


def crop_on(job: CropJob, dask: str | None, workers: int | None, resume: bool) -> Cropped:
    """Crop a plate here, or on a Dask cluster."""
    from coos_mlflow._utils.cluster import connect, spreading_over
    from coos_mlflow.cropping.crop import crop_plate

    if dask is None:
        return crop_plate(job, resume=resume)
    with connect(dask, workers) as client, spreading_over(client):
        return crop_plate(job, resume=resume)


def say_plan(job: CropJob) -> None:
    """Print what was found and chosen on stderr."""
    from coos_mlflow._utils.progress import say
    from coos_mlflow.reports.plate.wording import counted

    images, settings = job.images, job.settings
    channels = [channel.name for channel in images.channels]
    found = f"{counted(len(images.wells), 'well')}, {counted(len(images.fields), 'field')}"
    times = len({field.time for field in images.fields})
    found += f" of {times:,} times" if times > 1 else ""
    say(
        f"{images.location}: {found} ({images.source}); protein: {channels[settings.protein]}, "
        f"nucleus: {channels[settings.nucleus]}, pixels of {settings.image_pixel_um:.4g} "
        "micrometres"
    )
    for sentence in (*images.notes, *job.notes, *job.warnings):
        say(sentence)


def show(cropped: Cropped) -> None:
    """Print what was found, the wells and fields with a warning, and where to look."""
    from coos_mlflow.reports.plate.wording import counted

    facts, job = cropped.facts, cropped.job
    totals = facts["totals"]
    mark = "simulated " if facts["simulated"] else ""
    fields = counted(totals["fields"] - totals["failed"], "field")
    typer.echo(
        f"{job.out}  {counted(totals['cells'], f'{mark}cell')} of {totals['nuclei']:,} objects, "
        f"from {fields} of {counted(totals['wells'], 'well')}"
    )
    left_out = {why: n for why, n in totals["left_out"].items() if n}
    if left_out:
        listed = ", ".join(f"{n:,} {_LEFT_OUT[why]}" for why, n in left_out.items())
        typer.echo(f"left out: {listed}")
    for level in ("well", "field"):
        for rule in facts["rules"][level]:
            n = sum(rule["key"] in one["flags"] for one in facts[f"{level}s"])
            if n:
                typer.echo(f"{n:,} of {counted(totals[f'{level}s'], level)}: {rule['title']}")
    typer.echo(f"{job.folder / 'fields.html'}  look here whether cells were found rightly")


_LEFT_OUT = {
    "edge": "at the edge of their field",
    "small": "too small",
    "large": "too large",
    "field": "on fields with a warning",
}
