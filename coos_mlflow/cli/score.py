"""The command `coos-score`, which is also `coos score`."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from coos_mlflow.cli import plates as cli_data
from coos_mlflow.cli.options import Dask, TrackingUri, Workers, check_dask, use_store
from coos_mlflow.errors import (
    ClusterError,
    ConditionMetError,
    CoosError,
    DataError,
    OutputError,
    PlatesFailedError,
    RunNotLoggedError,
    without_passwords,
)
from coos_mlflow.scoring import conditions as fail_on

if TYPE_CHECKING:
    from coos_mlflow.plates.layout import Layout
    from coos_mlflow.scoring.record import Scored
    from coos_mlflow.scoring.scorer import Scorer


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(score)


def score(
    plates: Annotated[
        list[str], typer.Argument(help="Plate files (HDF5) to score, or quoted patterns of them.")
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
            "which all tables of the results then have."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check plates and model, write nothing.")
    ] = False,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CONDITION",
            help="End with exit code 4, all results written, when a file is shifted, or "
            "cannot-tell, or error>5: its estimated balanced error is above 5 % or unknown. "
            "Repeat it for several.",
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Score the other plates where one cannot be, name it at the end, and end with "
            "exit code 5.",
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

    Example: coos-score new_plate.h5 --model texture-lr --out scores

    Example: coos-score new_plate.h5 --model texture-lr --layout layout.csv

    Example: coos-score 'plates/*.h5' --model texture-lr --keep-going --fail-on 'error>5'

    Example: coos-score 'plates/*.h5' --model texture-lr --dask tcp://host:8786
    """
    use_store(tracking_uri)
    check_dask(dask, workers)
    # Imported here, since its package imports NumPy, which `coos --help` does not need.
    from coos_mlflow.representations.nn.precision import check_precision

    check_precision(precision)
    parsed = fail_on.parse(conditions or [])
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.plates.layout import read_layout

    files = _files(plates)
    treated = None if layout is None else read_layout(layout)
    with _Tally(keep_going) as tally:
        # The files are checked first, since importing MLflow takes much longer.
        openable = _openable(files, treated, tally)
        if not openable:
            return
        with progress(f"Loading {model}"):
            from coos_mlflow.plates.reader import open_plate
            from coos_mlflow.scoring import overview
            from coos_mlflow.scoring import scorer as scoring

            scorer = scoring.Scorer.load(model, precision)
        fit = []
        for plate in openable:
            with tally.attempt():
                open_plate(plate, scorer.dataset, check_labels=False).close()
                scorer.check(plate, out, force=force)
                fit.append(plate)
        if dry_run:
            for plate in fit:
                with tally.attempt():
                    _say_what_would_be(scorer, plate, out)
            return
        options = _Options(force=force, resume=resume, layout=treated)
        for outcome in _outcomes(scorer, fit, out, options, dask, workers):
            with tally.attempt():
                scored = _scored(outcome, tally)
                _show(scored, profile)
                tally.met += fail_on.violations(scored.drift, parsed)
        if page := overview.write_overview(out):
            typer.echo(f"{page}  all plates in {out}, the worst first")


class _Options(TypedDict):
    """Options of a scoring that do not depend on where it runs."""

    force: bool
    resume: bool
    layout: Layout | None


class _Tally:
    """Plates that could not be scored or logged, and conditions that scored ones met.

    A context manager. On exit it raises the error of the most serious case: a plate without labels
    (exit code 5), then labels that cannot be trusted (4), then a run that was not logged (3).

    Parameters
    ----------
    keep_going : bool
        Whether to report plates that cannot be scored at the end, instead of at once.
    """

    def __init__(self, keep_going: bool) -> None:
        self.met: list[str] = []
        self.unlogged: list[str] = []
        self._failed: list[str] = []
        self._keep_going = keep_going

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Do one step with a plate; with `keep_going`, record its error instead of raising it."""
        try:
            yield
        except (DataError, OutputError, ClusterError) as error:
            if not self._keep_going:
                raise
            self._failed.append(str(error))

    def __enter__(self) -> _Tally:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        sentences = self._failed + self.met + self.unlogged
        if error is not None:
            # Another error ends the command, so the sentences so far are printed here.
            for sentence in sentences if isinstance(error, CoosError) else ():
                typer.echo(f"error: {without_passwords(sentence)}", err=True)
        elif self._failed:
            raise PlatesFailedError("\n".join(sentences))
        elif self.met:
            raise ConditionMetError("\n".join(sentences))
        elif self.unlogged:
            raise RunNotLoggedError("\n".join(sentences))


def _files(patterns: list[str]) -> list[Path]:
    """Return the plate files that are named or match a pattern, in order."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        if Path(pattern).exists() or not glob.has_magic(pattern):
            found[Path(pattern)] = None
            continue
        matching = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - of any root
        if not matching:
            raise DataError(f"{pattern}: no file matches, expected plate files (HDF5).")
        found |= dict.fromkeys(map(Path, matching))
    return list(found)


def _openable(files: list[Path], layout: Layout | None, tally: _Tally) -> list[Path]:
    """Return the plate files that can be opened, and that the layout fits.

    Raises
    ------
    DataError
        For plates whose results would share a folder.
    """
    from coos_mlflow.plates.file_names import check_names
    from coos_mlflow.plates.reader import open_plate

    check_names(files)
    found = []
    for file in files:
        with tally.attempt():
            # Which channels there must be is known once the model is loaded.
            with open_plate(file, channels=None, check_labels=False) as opened:
                if layout is not None:
                    layout.lines(opened)
            found.append(file)
    return found


def _outcomes(
    scorer: Scorer,
    plates: list[Path],
    out: Path,
    options: _Options,
    dask: str | None,
    workers: int | None,
) -> Iterator[Scored | CoosError]:
    """Score plates on this machine one after the other, or on a cluster in parallel."""
    if dask is None:
        for plate in plates:
            try:
                yield scorer.score(plate, out, **options)
            except (DataError, OutputError, RunNotLoggedError) as error:
                yield error
        return
    from coos_mlflow._utils.cluster import connect
    from coos_mlflow.scoring.cluster import score_on

    with connect(dask, workers) as client:
        yield from score_on(client, scorer, plates, out, **options)


def _scored(outcome: Scored | CoosError, tally: _Tally) -> Scored:
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
