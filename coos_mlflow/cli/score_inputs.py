"""The plates that `coos-score` was given: plate files, and images that are cut into cells first."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from coos_mlflow.cli import crop as cli_crop
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

if TYPE_CHECKING:
    from coos_mlflow.cropping.job import CropJob
    from coos_mlflow.cropping.plan import CropOptions, OpenedImages
    from coos_mlflow.plates.layout import Layout
    from coos_mlflow.scoring.record import Scored
    from coos_mlflow.scoring.scorer import Scorer


class Tally:
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
        self.failed: list[str] = []
        self._keep_going = keep_going

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Do one step with a plate; with `keep_going`, record its error instead of raising it."""
        try:
            yield
        except (DataError, OutputError, ClusterError) as error:
            if not self._keep_going:
                raise
            self.failed.append(str(error))

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        sentences = self.failed + self.met + self.unlogged
        if error is not None:
            # Another error ends the command, so the sentences so far are printed here.
            for sentence in sentences if isinstance(error, CoosError) else ():
                typer.echo(f"error: {without_passwords(sentence)}", err=True)
        elif self.failed:
            raise PlatesFailedError("\n".join(sentences))
        elif self.met:
            raise ConditionMetError("\n".join(sentences))
        elif self.unlogged:
            raise RunNotLoggedError("\n".join(sentences))


class Input(NamedTuple):
    """A plate that is named on the command line: the file that is scored, and its images."""

    file: Path
    location: str | None = None
    images: OpenedImages | None = None


def inputs_of(patterns: list[str], out: Path) -> list[Input]:
    """Return the plates that are named or match a pattern, in order."""
    from coos_mlflow.scoring.image_names import is_images, plate_file

    found: dict[Input, None] = {}
    for pattern in patterns:
        if Path(pattern).exists() or not glob.has_magic(pattern):
            matching = [pattern]
        else:
            matching = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - of any root
        if not matching:
            raise DataError(
                f"{pattern}: no file matches, expected plate files (HDF5) or folders of images."
            )
        for one in matching:
            images = is_images(one)
            found[Input(plate_file(one, out), one) if images else Input(Path(one))] = None
    return list(found)


def check_options(inputs: list[Input], options: CropOptions, write_labels: bool) -> None:
    """Refuse options of images where only plate files are scored.

    Raises
    ------
    DataError
    """
    if any(one.location is not None for one in inputs):
        return
    given = [
        field.name for field in fields(options) if getattr(options, field.name) != field.default
    ]
    given += ["write_labels"] if write_labels else []
    if given:
        raise DataError(
            f"--{given[0].replace('_', '-')} found with plate files alone, expected images of a "
            "plate; leave it out."
        )


def openable(
    inputs: list[Input], options: CropOptions, layout: Layout | None, tally: Tally
) -> list[Input]:
    """Return the plates that can be opened, and that the layout fits.

    Raises
    ------
    DataError
        For plates whose results would share a folder.
    """
    from coos_mlflow.cropping.plan import open_plate_images
    from coos_mlflow.plates.file_names import check_names
    from coos_mlflow.plates.reader import open_plate

    check_names([one.file for one in inputs])
    found = []
    for one in inputs:
        with tally.attempt():
            if one.location is not None:
                found.append(one._replace(images=open_plate_images(one.location, options)))
                continue
            # Which channels there must be is known once the model is loaded.
            with open_plate(one.file, channels=None, check_labels=False) as opened:
                if layout is not None:
                    layout.lines(opened)
            found.append(one)
    return found


class Crops:
    """Plates that are scored, and the croppings that some of them need first.

    Parameters
    ----------
    scorer : Scorer
    out : Path
    options : CropOptions
    tally : Tally
    force, keep_going : bool
    """

    def __init__(
        self,
        scorer: Scorer,
        out: Path,
        options: CropOptions,
        tally: Tally,
        force: bool,
        keep_going: bool,
    ) -> None:
        self.scorer, self.out = scorer, out
        self._options, self._tally = options, tally
        self.force, self._keep_going = force, keep_going
        self._jobs: dict[Path, CropJob] = {}

    def job(self, images: OpenedImages) -> CropJob:
        """Return the cropping of a plate, after saying what was chosen."""
        from coos_mlflow.cropping.job import read_facts
        from coos_mlflow.scoring.images import crop_job

        # Cells of the same images and settings are found again, also where the scoring is forced.
        job = crop_job(self.scorer, images, self.out, self._options, keep_going=self._keep_going)
        cli_crop.say_plan(job)
        if self.force and not (job.is_done() and not read_facts(job.folder)["totals"]["failed"]):
            job = replace(job, force=True)
        return job

    def files(self, inputs: list[Input], resume: bool) -> list[Path]:
        """Cut out the cells of all images, and return the plate files that can be scored."""
        fit = []
        for one in inputs:
            with self._tally.attempt():
                if one.images is not None:
                    self.scorer.check(one.file, self.out, force=self.force)
                    self._crop(one.file, one.images, resume)
                open_plate_for(self.scorer, one.file)
                self.scorer.check(one.file, self.out, force=self.force)
                fit.append(one.file)
        return fit

    def _crop(self, file: Path, images: OpenedImages, resume: bool) -> None:
        from coos_mlflow.cropping.crop import crop_plate

        job = self.job(images)
        cropped = crop_plate(job, resume=resume)
        cli_crop.show(cropped)
        self._jobs[file.absolute()] = job
        self._tally.failed += cropped.failed

    def write_labels(self, scored: Scored) -> None:
        """Write the labels of a plate that was cut out of images into a copy of them."""
        from coos_mlflow.scoring.labelled import write_labelled

        job = self._jobs.get(scored.job.plate.absolute())
        if job is not None:
            labelled = write_labelled(job, scored.job.folder, force=True)
            typer.echo(f"{labelled}  labels for napari and Fractal")


def open_plate_for(scorer: Scorer, file: Path) -> None:
    """Refuse a plate file that does not fit a model."""
    from coos_mlflow.plates.reader import open_plate

    open_plate(file, scorer.dataset, check_labels=False).close()
