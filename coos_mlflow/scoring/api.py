"""Score plates from Python: what `coos_mlflow.score` and `coos_mlflow.load_model` do."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coos_mlflow.cropping.crop import crop_plate
from coos_mlflow.cropping.plan import CropOptions, open_plate_images
from coos_mlflow.plates.layout import read_layout
from coos_mlflow.registry.results import PREDICTIONS, REPORT, WELLS
from coos_mlflow.scoring.image_names import is_images
from coos_mlflow.scoring.images import crop_job
from coos_mlflow.scoring.record import Scored
from coos_mlflow.scoring.scorer import Scorer


@dataclass(frozen=True)
class ScoringResult:
    """The labels of a plate, and whether they can be trusted.

    Parameters
    ----------
    predictions : DataFrame
        One row a cell, the columns of `coos_mlflow.scoring.predictions.schema_of`.
    wells : DataFrame
        One row a well, the columns of `coos_mlflow.scoring.wells_table.schema_of`.
    verdict : {"in range", "shifted", "cannot tell"}
        Comparison of the plate with those that the model was trained and tested on.
    reason : str
        Why, in a sentence or two.
    estimated_error : float or None
        Balanced error in %, the best guess; None if it cannot be estimated.
    error_range : (float, float or None) or None
        Its range in %; the upper end is None where nothing vouches for one.
    report : Path or None
        ``report.html``; None if no folder was written.
    folder : Path or None
        Folder of all results.
    run_id : str or None
        The MLflow run; None if no folder was written.
    drift : dict
        The content of ``drift.json``: every number of the report.
    """

    predictions: pd.DataFrame
    wells: pd.DataFrame
    verdict: str
    reason: str
    estimated_error: float | None
    error_range: tuple[float, float | None] | None
    report: Path | None
    folder: Path | None
    run_id: str | None
    drift: dict[str, Any]

    def __repr__(self) -> str:
        """Return the verdict and the estimated error in one line."""
        error = "unknown"
        if self.error_range is not None:
            low, high = self.error_range
            open_ended = f"at least {low:.1f} %, best guess "
            error = f"{open_ended if high is None else ''}{self.estimated_error:.1f} %"
        cells = f"{len(self.predictions):,} cells"
        return f"<ScoringResult: {cells}, {self.verdict}, estimated balanced error {error}>"


def load_model(name: str, precision: str = "auto") -> Scorer:
    """Load a registered model.

    Parameters
    ----------
    name : str
        ``texture-lr`` (its champion), ``texture-lr@alias``, ``texture-lr/3`` or ``models:/...``,
        in the tracking store that MLflow uses.
    precision : {"auto", "fp32", "bf16"}
        Precision of networks. "auto" is bfloat16 if the network classifies by itself and the
        processor has bfloat16.

    Returns
    -------
    Scorer
        `score` takes it in place of a name. Its `predict` labels an array of cells.

    Raises
    ------
    CoosError
        When the model does not exist, or does not fit the installed version.

    Examples
    --------
    >>> model = coos_mlflow.load_model("texture-lr")  # doctest: +SKIP
    >>> model.predict(images)["class_name"]  # doctest: +SKIP
    """
    return Scorer.load(name, precision)


def score(
    plate: str | Path,
    model: str | Scorer,
    out: str | Path | None = None,
    *,
    force: bool = False,
    layout: str | Path | None = None,
    mixed_wells: bool = False,
    **cropping: Any,
) -> ScoringResult:
    """Label every cell of a plate, with a verdict on the plate.

    Parameters
    ----------
    plate : path or address
        A plate file (HDF5), or a folder of images as an instrument wrote them.
    model : str or Scorer
        The name of a registered model, or what `load_model` returned.
    out : path, optional
        Results and report are written into a folder of the plate's name in it, and an MLflow run
        is logged, as by `coos-score`. Without it nothing is kept.
    force : bool
        Replace results that are in `out` already.
    layout : path, optional
        CSV with a column ``well`` and others, such as ``compound``, which are joined to the tables
        of cells and wells as ``Metadata_compound``. A column ``class`` says what wells hold: the
        error is measured there (docs/drift.md, "Controls").
    mixed_wells : bool
        Wells may hold several proteins, so that their cells do not decide a class together.
    **cropping
        Of images: see `coos_mlflow.cropping.plan.CropOptions`, such as ``protein="Alexa 488"``.

    Returns
    -------
    ScoringResult

    Raises
    ------
    CoosError
        When the plate or the model cannot be used, or results cannot be written.

    Examples
    --------
    >>> result = coos_mlflow.score("new_plate.h5", "texture-lr")  # doctest: +SKIP
    >>> result.verdict, result.estimated_error  # doctest: +SKIP
    ('shifted', 13.9)
    """
    read = None if layout is None else read_layout(layout)
    scorer = load_model(model) if isinstance(model, str) else model
    if read is not None:
        read.classes(scorer.dataset)
    how: dict[str, Any] = {"layout": read, "mixed_wells": mixed_wells}
    if out is not None:
        file = _plate_file(plate, scorer, Path(out), cropping)
        return _result(scorer.score(file, Path(out), force=force, **how), kept=True)
    with tempfile.TemporaryDirectory(prefix="coos-score-") as folder:
        file = _plate_file(plate, scorer, Path(folder), cropping)
        return _result(scorer.score(file, Path(folder), log=False, **how), kept=False)


def _plate_file(plate: str | Path, scorer: Scorer, out: Path, cropping: dict[str, Any]) -> Path:
    """Return the plate file to score; cells of images are cut out first."""
    options = CropOptions(**cropping)
    if not is_images(str(plate)):
        return Path(plate)
    return crop_plate(
        crop_job(scorer, open_plate_images(str(plate), options), out, options)
    ).job.out


def _result(scored: Scored, kept: bool) -> ScoringResult:
    drift = scored.drift
    error = drift["error"] or {}
    estimate = error.get("balanced_error")
    return ScoringResult(
        predictions=pd.read_parquet(scored.folder / PREDICTIONS),
        wells=pd.read_parquet(scored.folder / WELLS),
        verdict=drift["verdict"],
        reason=drift["reason"],
        estimated_error=estimate,
        error_range=None if estimate is None else (error["low"], error["high"]),
        report=scored.folder / REPORT if kept else None,
        folder=scored.folder if kept else None,
        run_id=scored.run_id,
        drift=drift,
    )
