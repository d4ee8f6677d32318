"""Load a registered model, and score plates with it on this machine."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from coos_mlflow._utils.files import check_folder, on_failure
from coos_mlflow._utils.progress import progress, say
from coos_mlflow._utils.signals import raise_swallowed_signal
from coos_mlflow._utils.timings import Timings
from coos_mlflow._utils.versions import check_fits
from coos_mlflow.drift.reference import Reference
from coos_mlflow.errors import CoosError, OutputError, RegistryError, without_passwords
from coos_mlflow.model import bundle as bundles
from coos_mlflow.model.bundle import ARTIFACT, DESCRIPTION
from coos_mlflow.model.cell_model import CellModel
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.layout import Layout
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.registry import versions
from coos_mlflow.registry.relocation import check_there
from coos_mlflow.registry.results import ALL_NAMES, read_drift
from coos_mlflow.registry.runs import first_line, prepare_store
from coos_mlflow.representations.nn.precision import BF16, check_precision
from coos_mlflow.scoring.blocks import score_blocks
from coos_mlflow.scoring.finish import finish
from coos_mlflow.scoring.job import Job, Survey, check_replaceable, found_results, survey
from coos_mlflow.scoring.parts import WorkFolder, discard_work, open_work
from coos_mlflow.scoring.record import Scored, with_run
from coos_mlflow.serving.decoding import as_images

_MIN_FREE_BYTES = 2**20
"""If less free space than this remains, a failed write is reported as "disk full"."""

MAX_COMMAND_LENGTH = 990
"""Most characters of the command that the report repeats."""


class Scorer:
    """A registered model that can score plates.

    Parameters
    ----------
    model : ModelRef
    cell_model : CellModel
    bundle : Path
        The folder that the classifier was loaded from.
    precision : str
        Precision of networks: "auto", "fp32" or "bf16" (`Representation.prepare`).
    """

    def __init__(
        self,
        model: versions.ModelRef,
        cell_model: CellModel,
        bundle: Path,
        precision: str = "auto",
    ):
        self.model = model
        self.cell_model = cell_model
        self.bundle = bundle
        self.precision = precision

    @classmethod
    def load(cls, asked: str, precision: str = "auto") -> Scorer:
        """Load the model that `asked` names; see `coos_mlflow.registry.versions.resolve`.

        Raises
        ------
        RegistryError
            When the model does not exist, cannot be read, or is not of this package.
        DataError
            For an unknown precision.
        OutputError
            When the disk is too full for a copy of its files.
        """
        check_precision(precision)
        prepare_store(make=False)
        model = versions.resolve(asked)
        copy = _copied(model)
        with on_failure(lambda: shutil.rmtree(copy, ignore_errors=True)):
            loaded = cls._of(model, copy, precision)
        weakref.finalize(loaded, shutil.rmtree, copy, ignore_errors=True)
        if precision == BF16 and loaded.cell_model.classifier is not None:
            say(
                f"{model}: in bfloat16 about one label in a hundred of a classifier on a network's "
                "features is another than in single precision"
            )
        return loaded

    @classmethod
    def _of(cls, model: versions.ModelRef, files: Path, precision: str) -> Scorer:
        bundle = bundles.find(files)
        if bundle is None and model.ours:
            raise _not_whole(model)
        if bundle is None:
            raise RegistryError(
                f"{model} is no cell classifier of coos-mlflow; `coos models list` shows those."
            )
        check_fits(model.tags.get("package_version", ""), str(model))
        return cls(model, CellModel.load(bundle, model.digest), bundle, precision)

    @property
    def dataset(self) -> Dataset:
        """What the cells of a plate must be."""
        return self.cell_model.dataset

    def check(self, plate: Path, out: Path, *, force: bool = False) -> None:
        """Refuse a plate whose results could not be written, before any cell is scored.

        Raises
        ------
        OutputError
            For existing results that are not by this model. Whether they are of this plate is not
            checked here, since that needs the plate's digest.
        """
        folder = self.folder_for(plate, out)
        check_folder(folder, force or _holds_results_of(folder, self.model), ALL_NAMES)

    @staticmethod
    def folder_for(plate: Path, out: Path) -> Path:
        """Return the folder of a plate's results: `out` / the file's name without its ending."""
        return out / plate.stem

    @property
    def prepared_precision(self) -> str:
        """The precision in which the model scores here. Reading this prepares the model for it."""
        return self.cell_model.prepare(self.precision)

    def job(
        self,
        plate: Path,
        out: Path,
        found: Survey,
        *,
        force: bool = False,
        layout: Layout | None = None,
        mixed_wells: bool = False,
    ) -> Job:
        """Return the job that scores a plate, from its survey `found`."""
        return Job(
            plate=plate,
            **found._asdict(),
            folder=self.folder_for(plate, out),
            model=self.model,
            precision=self.prepared_precision,
            command=_command(),
            force=force,
            layout=layout,
            mixed_wells=mixed_wells,
        )

    def score(
        self,
        plate: Path,
        out: Path,
        *,
        force: bool = False,
        resume: bool = True,
        log: bool = True,
        layout: Layout | None = None,
        mixed_wells: bool = False,
    ) -> Scored:
        """Score a plate and write its results, unless they exist already.

        A stopped scoring continues from its last part.

        Parameters
        ----------
        plate : Path
            See `coos_mlflow.plates.reader.open_plate`.
        out : Path
            The results are written into a folder of the plate's name in it.
        force : bool
            Replace existing results, even those of the same job.
        resume : bool
            Keep the parts that a stopped scoring of the same plate has left.
        log : bool
            Log an MLflow run.
        layout : Layout or None
            What the wells were treated with (`coos_mlflow.plates.layout.read_layout`).
        mixed_wells : bool
            Wells may hold several classes, even if those of Training do not.

        Raises
        ------
        DataError
            When the plate cannot be scored; nothing is written then.
        OutputError
            When other results exist already, or new ones cannot be written.
        RunNotLoggedError
            When the results were written but the tracking store did not accept the run.
        """
        timings = Timings()
        with timings.phase("digest"):
            surveyed = _surveyed(plate, self.dataset, layout)
        job = self.job(plate, out, surveyed, force=force, layout=layout, mixed_wells=mixed_wells)
        if not force and (drift := found_results(job)):
            discard_work(job)
            return with_run(Scored(job, drift)) if log else Scored(job, drift)
        check_replaceable(job)
        try:
            with (
                open_work(job, resume) as work,
                open_plate(plate, self.dataset, check_labels=False) as opened,
            ):
                with timings.phase("cells"):
                    self._score_missing(opened, work, timings)
                with timings.phase("drift and report"):
                    drift = finish(opened, work, self.cell_model)
            raise_swallowed_signal()
        except (KeyboardInterrupt, SystemExit):
            say(f"{job.folder}: stopped; the same command goes on where it was.")
            raise
        scored = Scored(job, drift, timings)
        return with_run(scored) if log else scored

    def predict(self, images: np.ndarray) -> pd.DataFrame:
        """Label an array of cells, without a verdict on their plate.

        Parameters
        ----------
        images : ndarray, shape (n, 2, crop, crop)
            Raw camera counts, protein and nucleus.

        Returns
        -------
        DataFrame
            label, class_name, p_0, p_1, ..., one row a cell.

        Raises
        ------
        DataError
            For images that are not raw counts of cells.
        """
        images = as_images(images, self.dataset.crop)
        self.cell_model.prepare(self.precision)
        return self.cell_model.score(images).table(self.dataset.class_names)

    def _score_missing(self, plate: Plate, work: WorkFolder, timings: Timings) -> None:
        """Write the parts that are missing."""
        missing = work.missing()
        known = plate.n_cells - sum(block.stop - block.start for block in missing)
        title = f"Scoring {plate.path.name}"
        with progress(title, total=plate.n_cells, unit="cells") as advance:
            if known:
                say(f"{title}: {known:,} of {plate.n_cells:,} cells were scored before")
                advance(known)
            for part in score_blocks(self.cell_model, plate, missing, advance, timings):
                with timings.stage("write"):
                    work.write(part)


def load_reference(name: str, version: str, model_id: str | None) -> Reference:
    """Load what a registered version remembers of Training, without its classifier.

    Parameters
    ----------
    name, version : str
    model_id : str or None
        Id that the version must have.

    Raises
    ------
    RegistryError
        When the store is away, the version was deleted or is another one, or cannot be read.
    OutputError
        When the disk is too full for a copy of its files.
    """
    prepare_store(make=False)
    model = versions.resolve(f"{name}/{version}")
    if model.model_id != model_id:
        raise RegistryError(
            f"{model} in {versions.registry_uri()} is not the one that is asked for (id "
            f"{model.model_id}, expected {model_id}); name the store where that is registered."
        )
    copy = _copied(model)
    try:
        bundle = bundles.find(copy)
        if bundle is None:
            raise _not_whole(model)
        description = bundles.read_description(bundle, model.digest)
        return bundles.load_reference(bundle, bundles.dataset_of(description))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _not_whole(model: versions.ModelRef) -> RegistryError:
    return RegistryError(
        f"{model}: {versions.artifact_location(model)} holds no "
        f"artifacts/{ARTIFACT}/{DESCRIPTION}; bring its files back; if they "
        f"were deleted, {model.recovery_hint}."
    )


def _copied(model: versions.ModelRef) -> Path:
    """Copy a model's files into a private folder.

    So they cannot change between the check of their digests and loading.

    Raises
    ------
    OutputError
        When the disk is full.
    RegistryError
        When they cannot be read.
    """
    try:
        copy = Path(tempfile.mkdtemp(prefix="coos-model-"))
    except OSError as error:
        raise OutputError(
            f"No temporary folder can be made ({error}); make room, or set TMPDIR to another one."
        ) from error
    with on_failure(lambda: shutil.rmtree(copy, ignore_errors=True)):
        try:
            check_there(str(model), versions.artifact_location(model), model.recovery_hint)
            # `mlflow.pyfunc.load_model` would run the code that is stored with the model.
            mlflow.artifacts.download_artifacts(model.uri, dst_path=str(copy))
        except (MlflowException, OSError) as error:
            raise _not_copied(model, copy, error) from error
    return copy


def _not_copied(model: versions.ModelRef, copy: Path, error: Exception) -> CoosError:
    if shutil.disk_usage(copy).free < _MIN_FREE_BYTES:
        return OutputError(
            f"{copy.parent}: no room for a copy of {model} ({first_line(error)}); make some, "
            "or set TMPDIR to another folder."
        )
    return RegistryError(
        f"{model} cannot be loaded from {versions.registry_uri()} "
        f"({first_line(error)}); its files may have been moved."
    )


def _holds_results_of(folder: Path, model: versions.ModelRef) -> bool:
    """Tell whether a folder holds results of a scoring with this model."""
    entry = (read_drift(folder) or {}).get("model")
    return isinstance(entry, dict) and entry.get("id") == model.model_id


def _command() -> str:
    """Return the command line of this process without passwords, shortened for the report."""
    whole = without_passwords(" ".join(sys.argv))
    return whole if len(whole) <= MAX_COMMAND_LENGTH else f"{whole[:MAX_COMMAND_LENGTH]} ..."


def _surveyed(plate: Path, dataset: Dataset, layout: Layout | None) -> Survey:
    n_bytes = plate.stat().st_size if plate.exists() else None
    with progress(f"Hashing {plate.name}", total=n_bytes, unit="bytes") as advance:
        return survey(plate, dataset, advance, layout)
