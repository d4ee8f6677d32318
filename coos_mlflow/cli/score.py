"""The command `coos-score`, which is also `coos score`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from coos_mlflow.cli import crop as cli_crop
from coos_mlflow.cli import plates as cli_data
from coos_mlflow.cli.options import Dask, TrackingUri, Workers, check_dask, use_store
from coos_mlflow.cli.score_inputs import (
    Crops,
    Input,
    Tally,
    check_options,
    inputs_of,
    open_plate_for,
    openable,
)
from coos_mlflow.errors import (
    CoosError,
    DataError,
    OutputError,
    RunNotLoggedError,
)
from coos_mlflow.scoring import conditions as fail_on

if TYPE_CHECKING:
    from distributed import Client

    from coos_mlflow.plates.layout import Layout
    from coos_mlflow.scoring.record import Scored
    from coos_mlflow.scoring.scorer import Scorer


AS_TRAINED, MIXED = "as-trained", "mixed"
"""Values of --wells."""


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(score)


def score(
    plates: Annotated[
        list[str],
        typer.Argument(
            help="Plates to score: plate files (HDF5) or quoted patterns of them, and folders or "
            "addresses of images as an instrument wrote them."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(help="texture-lr (its champion), texture-lr@alias, texture-lr/3, models:/..."),
    ],
    out: Annotated[Path, typer.Option(help="Folder; each plate gets one of its own in it.")] = Path(
        "scores"
    ),
    layout: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a column well, optionally plate, and any others (compound, dose, ...), "
            "which all tables of the results then have. A column class says what wells hold: the "
            "error is measured there."
        ),
    ] = None,
    wells: Annotated[
        str,
        typer.Option(
            help="as-trained, or mixed where a well may hold several proteins: pooled genetic "
            "screens, and drugs that move the protein in some of the cells. A screen with one gene "
            "a well keeps as-trained. In mixed wells the cells do not check each other: wells get "
            "shares instead of a class, and only the model's confidence tells of the error, in a "
            "wide range."
        ),
    ] = AS_TRAINED,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check plates and model, write nothing.")
    ] = False,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CONDITION",
            help="End with exit code 4, all results written, when a file is shifted, or "
            "cannot-tell, or error>5: its balanced error is above 5 %, has no upper end, or is "
            "unknown, or measured-error>5: its error, measured on labelled cells or control wells, "
            "may be above 5 %, or was not measured. Repeat it for several.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Score the other plates where one cannot be, name it at the end, and end with "
            "exit code 5. So too the other fields of images.",
        ),
    ] = False,
    source: cli_crop.Source = None,
    pattern: cli_crop.Pattern = None,
    pixel_size: cli_crop.PixelSize = None,
    protein: cli_crop.Protein = None,
    nucleus: cli_crop.Nucleus = None,
    z: cli_crop.Z = "max",
    illumination: cli_crop.Illumination = False,
    segmenter: cli_crop.SegmenterName = "threshold",
    nucleus_size: cli_crop.NucleusSizes = None,
    centres: cli_crop.Centres = None,
    keep: cli_crop.Keep = "all",
    crop_pixel_size: cli_crop.CropPixelSize = None,
    write_labels: Annotated[
        bool,
        typer.Option(
            "--write-labels",
            help="Of images: write OUT/crops/PLATE.zarr, a copy as OME-Zarr with the nuclei as "
            "labels and a table of their classes, for napari and Fractal.",
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="Of networks: bf16, fp32, or auto: bf16 for a network's own answers where the "
            "processor has it, else fp32."
        ),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option(help="Go on with a scoring that was stopped, or begin it anew.")
    ] = True,
    dask: Dask = None,
    workers: Workers = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time went.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Score all plates again and replace results that are there."),
    ] = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """Label every cell of new plates, with a verdict on each.

    The verdict and the estimated error say whether the labels can be trusted. Writes
    OUT/PLATE/{predictions.parquet,wells.parquet,wells.csv,drift.json,report.html,report.md}, an
    MLflow run, and OUT/overview.html once OUT holds several plates. Stopped or killed, the same
    command goes on where it was.

    Of images, nuclei are found first and cells cut out around them. They are kept as
    OUT/crops/PLATE.h5; OUT/crops/PLATE.fields/fields.html shows whether they were found rightly.

    Example: coos-score new_plate.h5 --model texture-lr --out scores

    Example: coos-score new_plate.h5 --model texture-lr --layout layout.csv

    Example: coos-score new_plate.h5 --model texture-lr --wells mixed

    Example: coos-score 'plates/*.h5' --model texture-lr --keep-going --fail-on 'error>5'

    Example: coos-score /data/plate42 --model texture-lr --protein 'Alexa 488'

    Example: coos-score 'plates/*.h5' --model texture-lr --dask tcp://host:8786
    """
    use_store(tracking_uri)
    check_dask(dask, workers)
    # Imported here, since its package imports NumPy, which `coos --help` does not need.
    from coos_mlflow.representations.nn.precision import check_precision

    check_precision(precision)
    parsed = fail_on.parse(conditions or [])
    if wells not in (AS_TRAINED, MIXED):
        raise DataError(f"--wells {wells!r} found, expected {AS_TRAINED} or {MIXED}.")
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates.layout import read_layout

    treated = None if layout is None else read_layout(layout)
    from coos_mlflow.cropping.plan import CropOptions

    chosen = CropOptions(
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
    with Tally(keep_going) as tally:
        # The files are checked first, since importing MLflow takes much longer.
        named = inputs_of(plates, out)
        check_options(named, chosen, write_labels)
        inputs = openable(named, chosen, treated, tally)
        if not inputs:
            return
        with progress(f"Loading {model}"):
            from coos_mlflow.scoring import overview
            from coos_mlflow.scoring import scorer as scoring

            scorer = scoring.Scorer.load(model, precision)
        if treated is not None:
            treated.classes(scorer.dataset)
        crops = Crops(scorer, out, chosen, tally, force, keep_going)
        if dry_run:
            _say_all(crops, inputs, tally)
            return
        options = _Options(force=force, resume=resume, layout=treated, mixed_wells=wells == MIXED)
        with _cluster(dask, workers) as client:
            fit = crops.files(inputs, resume)
            for outcome in _outcomes(scorer, fit, out, options, client):
                with tally.attempt():
                    scored = _scored(outcome, tally)
                    _show(scored, profile)
                    tally.met += fail_on.violations(scored.drift, parsed)
                    if write_labels:
                        crops.write_labels(scored)
        if page := overview.write_overview(out):
            typer.echo(f"{page}  all plates in {out}, the worst first")


class _Options(TypedDict):
    """Options of a scoring that do not depend on where it runs."""

    force: bool
    resume: bool
    layout: Layout | None
    mixed_wells: bool


def _say_all(crops: Crops, inputs: list[Input], tally: Tally) -> None:
    """Say what would be done with each plate."""
    for one in inputs:
        with tally.attempt():
            crops.scorer.check(one.file, crops.out, force=crops.force)
            if one.images is None:
                open_plate_for(crops.scorer, one.file)
                _say_what_would_be(crops.scorer, one.file, crops.out)
            else:
                job = crops.job(one.images)
                job.check_replaceable()
                typer.echo(f"would write {one.file} and {job.folder}")
                typer.echo(f"would write {crops.scorer.folder_for(one.file, crops.out)}")


@contextmanager
def _cluster(dask: str | None, workers: int | None) -> Iterator[Client | None]:
    """Connect to a Dask cluster where one is asked for, also for cutting out cells."""
    if dask is None:
        yield None
        return
    from coos_mlflow._utils.cluster import connect, spreading_over

    with connect(dask, workers) as client, spreading_over(client):
        yield client


def _outcomes(
    scorer: Scorer, plates: list[Path], out: Path, options: _Options, client: Client | None
) -> Iterator[Scored | CoosError]:
    """Score plates on this machine one after the other, or on a cluster in parallel."""
    if client is None:
        for plate in plates:
            try:
                yield scorer.score(plate, out, **options)
            except (DataError, OutputError, RunNotLoggedError) as error:
                yield error
        return
    from coos_mlflow.scoring.cluster import score_on

    yield from score_on(client, scorer, plates, out, **options)


def _scored(outcome: Scored | CoosError, tally: Tally) -> Scored:
    """Return the scored plate, or raise its error; record the sentence of a run not logged."""
    from coos_mlflow.scoring.record import Scored

    if isinstance(outcome, RunNotLoggedError) and isinstance(outcome.done, Scored):
        tally.unlogged.append(str(outcome))
        return outcome.done
    if isinstance(outcome, CoosError):
        raise outcome
    return outcome


def _say_what_would_be(scorer: Scorer, plate: Path, out: Path) -> None:
    found = cli_data.inspect_with_progress(plate, scorer.dataset)
    typer.echo(f"would score {found.n_cells:,} cells of {plate} with {scorer.model}")
    for note in found.cell_notes:
        typer.echo(note)
    typer.echo(f"would write {scorer.folder_for(plate, out)}")


def _show(scored: Scored, profile: bool) -> None:
    from coos_mlflow.cli import tables

    tables.show_scores(scored)
    if profile:
        tables.show_timings(scored.timings, scored.n_cells)
