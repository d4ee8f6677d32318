"""The drift reference of a model version: its summary of Training and the reference splits.

It is stored beside the model, in at most 5 MB and without pickle.
"""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from sklearn.decomposition import PCA

from coos_mlflow.drift.error_estimate import Calibration
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.drift.profile import Profile
from coos_mlflow.drift.statistics import CellSample
from coos_mlflow.drift.statistics.novelty import cell_novelty, class_moments
from coos_mlflow.errors import OutputError, RegistryError
from coos_mlflow.plates.dataset import Dataset

ARRAYS_FILE = "reference.npz"
FACTS_FILE = "reference.json"
SIZE_LIMIT = 5_000_000
"""Bytes that a reference may take on disk."""

SCHEMA_VERSION = 4
_FIT_ROWS = 20_000
_CALIBRATION_FACTS = ("temperature", "off", "margin", "recall_margin", "pure_wells")

_SAMPLE_TYPES = {"f": np.float16, "i": np.int32}
"""Storage types of the sampled cells: three digits are more than effect sizes show."""


@dataclass(frozen=True)
class Projection:
    """Principal axes of a representation, fitted on Training.

    Parameters
    ----------
    mean, scale : ndarray of float32, shape (D,)
        Of the Training cells.
    components : ndarray of float32, shape (dims, D)
        Orthonormal rows.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of features and of axes."""
        dims, d = self.components.shape
        return d, dims

    def project(self, features: np.ndarray) -> np.ndarray:
        """Return features (n, D) on the axes, shape (n, dims), float32."""
        standardised = (np.asarray(features, dtype=np.float32) - self.mean) / self.scale
        return standardised @ self.components.T


def fit_projection(features: np.ndarray, seed: int = 0, dims: int = 16) -> Projection:
    """Fit the projection on Training features, on at most 20,000 cells drawn with `seed`.

    Parameters
    ----------
    features : ndarray, shape (n, D)
        The representation of the Training cells, before any scaling.
    seed : int
        For the draw of cells.
    dims : int
        Axes to keep; fewer where D or n allow no more.
    """
    rows = np.arange(len(features))
    if len(features) > _FIT_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _FIT_ROWS, replace=False))
    sample = np.asarray(features[rows], dtype=np.float64)
    mean, scale = sample.mean(axis=0), sample.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1.0), scale, 1.0)
    kept = min(dims, sample.shape[1], len(sample))
    pca = PCA(n_components=kept, svd_solver="full").fit((sample - mean) / scale)
    return Projection(
        mean.astype(np.float32), scale.astype(np.float32), pca.components_.astype(np.float32)
    )


@dataclass(frozen=True)
class ReferenceCells:
    """A small sample of reference cells, for the pictures of the report.

    Parameters
    ----------
    images : ndarray, shape (n, 2, crop, crop), uint8 or uint16
        Raw counts.
    labels : ndarray of int64, shape (n,)
        True classes.
    splits, plates, wells : ndarray of str, shape (n,)
        Origin of each cell.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    plates: np.ndarray
    wells: np.ndarray

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.images)


@dataclass(frozen=True)
class Reference:
    """Summary of the data that a model version was trained and tested on.

    Parameters
    ----------
    dataset : Dataset
        Kept in the model's description, not in the reference's own files.
    profiles : dict of Profile
        By split. That of Training is made from out-of-fold predictions with whole plates left
        out, because a model is more confident about cells, and plates, that it was fitted on.
    projection : Projection
        From the representation to the axes of the "features" view.
    cells : ReferenceCells
        For the pictures of the report.
    confusions : dict of ndarray of int64, shape (classes, classes)
        By split; rows are true classes, columns predicted ones.
    errors : dict of float
        Balanced error in % by split.
    calibration : Calibration
        The error estimators, fitted on Training.
    record : dict of dict of float
        By estimator and split, the estimated balanced error in %.
    sample : CellSample
        Training cells in all views, for effect sizes.
    effects : dict of dict
        By split and statistic, the median effect size of some of its plates against Training; of
        Training, against its other plates. None where no plate has a value.
    training_predictions : str
        How the predictions of Training were made. ``"plates"``: each plate by a model that was
        fitted on the others. ``"network"``: the same, but the network below the classifier was
        trained on all plates. ``"cells"``: cells that were held out from training a network on
        labels, on plates that it was trained on. ``"folds"``: fifths of the cells of one plate.
    kept_share : float
        Share of Training's cells in the reference: those that no network was trained on.
    provenance : dict
        JSON-ready: ``dataset`` (name), ``digest`` (SHA-256), ``simulated`` (bool).
    """

    dataset: Dataset
    profiles: dict[str, Profile]
    projection: Projection
    cells: ReferenceCells
    confusions: dict[str, np.ndarray]
    errors: dict[str, float]
    calibration: Calibration
    record: dict[str, dict[str, float]]
    sample: CellSample
    effects: dict[str, dict[str, float | None]]
    training_predictions: str
    kept_share: float
    provenance: dict[str, Any]

    def novelty(self, features: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the distance of cells from the Training cells with the same class, shape (n,).

        Parameters
        ----------
        features : ndarray, shape (n, dims)
            Projected features.
        predicted : ndarray of int, shape (n,)
            Predicted classes.

        Returns
        -------
        ndarray of float64
            Root mean squared deviation, in standard deviations of single cells: 1 is ordinary.
        """
        return cell_novelty(features, predicted, *self._moments)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        training = self.profiles["training"]
        return class_moments(
            training.classes,
            training.counts,
            training.means["features"],
            training.variances["features"],
            self.dataset.n_classes,
        )

    def save(self, folder: Path) -> None:
        """Write the reference into `folder`, which is created if it is missing.

        Raises
        ------
        OutputError
            If it needs more than `SIZE_LIMIT` bytes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / ARRAYS_FILE, **self._arrays())  # type: ignore[arg-type]
        facts = {
            "schema_version": SCHEMA_VERSION,
            "splits": [*self.profiles],
            "errors": {split: float(error) for split, error in self.errors.items()},
            "calibration": {name: getattr(self.calibration, name) for name in _CALIBRATION_FACTS},
            "record": self.record,
            "effects": self.effects,
            "training_predictions": self.training_predictions,
            "kept_share": self.kept_share,
            "provenance": self.provenance,
        }
        text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
        (folder / FACTS_FILE).write_text(text, encoding="utf-8")
        size = sum((folder / name).stat().st_size for name in (ARRAYS_FILE, FACTS_FILE))
        if size > SIZE_LIMIT:
            raise OutputError(
                f"{folder}: the reference takes {size} bytes, expected at most {SIZE_LIMIT}; "
                "keep fewer reference cells."
            )

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"projection/{name}": value for name, value in vars(self.projection).items()}
        arrays |= {f"cells/{name}": value for name, value in vars(self.cells).items()}
        arrays |= {f"confusion/{split}": value for split, value in self.confusions.items()}
        arrays["calibration/prior"] = self.calibration.prior
        arrays |= {f"estimator/{key}": value for key, value in self.calibration.fitted.items()}
        arrays |= {
            f"sample/{name}": values.astype(_SAMPLE_TYPES[values.dtype.kind])
            for name, values in vars(self.sample).items()
        }
        for split, profile in self.profiles.items():
            for name in ("plates", "wells", "classes", "counts"):
                arrays[f"profile/{split}/{name}"] = getattr(profile, name)
            for view in VIEWS:
                arrays[f"profile/{split}/mean/{view}"] = profile.means[view]
                arrays[f"profile/{split}/variance/{view}"] = profile.variances[view]
        return arrays

    @classmethod
    def load(cls, folder: Path, dataset: Dataset) -> Reference:
        """Read a reference that `save` wrote; `dataset` is the one of its model.

        Raises
        ------
        RegistryError
            If a file is missing, damaged or of another schema.
        """
        try:
            facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
            packed = io.BytesIO((folder / ARRAYS_FILE).read_bytes())
            with np.load(packed, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            version = facts["schema_version"]
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema version {version} found, expected {SCHEMA_VERSION}")
            return cls._from_stored(dataset, facts, arrays)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            BadZipFile,
            zlib.error,
        ) as problem:
            raise RegistryError(
                f"{folder}: the drift reference of this model version cannot be read ({problem}); "
                "register the model again."
            ) from problem

    @classmethod
    def _from_stored(
        cls, dataset: Dataset, facts: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> Reference:
        def group(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(prefix): value
                for name, value in arrays.items()
                if name.startswith(prefix)
            }

        profiles = {
            split: Profile(
                **{
                    name: arrays[f"profile/{split}/{name}"]
                    for name in ("plates", "wells", "classes", "counts")
                },
                means=group(f"profile/{split}/mean/"),
                variances=group(f"profile/{split}/variance/"),
            )
            for split in facts["splits"]
        }
        return cls(
            dataset=dataset,
            profiles=profiles,
            projection=Projection(**group("projection/")),
            cells=ReferenceCells(**group("cells/")),
            confusions=group("confusion/"),
            errors={s: facts["errors"][s] for s in dataset.split_keys if s in facts["errors"]},
            calibration=Calibration(
                prior=arrays["calibration/prior"],
                fitted=group("estimator/"),
                **facts["calibration"],
            ),
            record=facts["record"],
            sample=CellSample(
                **{
                    name: values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
                    for name, values in group("sample/").items()
                }
            ),
            effects=facts["effects"],
            training_predictions=facts["training_predictions"],
            kept_share=facts["kept_share"],
            provenance=facts["provenance"],
        )
