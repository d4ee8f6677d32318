"""Made-up classes of cells, one row a class, and descriptions of data sets of them.

Open this file to change how a made-up class looks.
"""

from __future__ import annotations

from dataclasses import replace

from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import MAX_CLASSES, REFERENCE, TRAIN, Dataset
from coos_mlflow.simulate import microscope
from coos_mlflow.simulate.classes import (
    CYTOSOL,
    ENDOSOME,
    ENVELOPE,
    ER,
    GOLGI,
    IMM,
    PEROXISOME,
    PROTEIN_CLASSES,
    ProteinClass,
)

_BRIGHTER = 1.4
"""Factor on the photons of a class that repeats an earlier row; chosen."""


def _like(compartment: int, **changes: float) -> ProteinClass:
    return replace(PROTEIN_CLASSES[compartment], **changes)  # type: ignore[arg-type]


MADE_UP_CLASSES = (
    _like(ER),
    _like(IMM),
    _like(GOLGI, photons=70000.0),
    _like(PEROXISOME, photons=70000.0),
    _like(ENDOSOME, organelles=26.0, pool=0.8, photons=110000.0),
    _like(CYTOSOL),
    _like(ENVELOPE),
    _like(ER, gather=2.5, second=PEROXISOME, second_share=0.3, photons=150000.0),
    _like(IMM, organelles=16.0, width=1.5, length=3.5, gather=1.5, photons=120000.0),
    _like(GOLGI, gather=2.0, organelles=30.0, width=2.0, photons=110000.0),
    _like(PEROXISOME, organelles=160.0, photons=130000.0),
    _like(ENVELOPE, second=GOLGI, second_share=0.45, photons=130000.0),
    _like(PEROXISOME, organelles=7.0, width=4.5, photons=130000.0),
    _like(
        ENDOSOME, organelles=12.0, width=1.8, second=ENVELOPE, second_share=0.5, photons=130000.0
    ),
    _like(ER, length=2.2, width=1.5, second=ENVELOPE, second_share=0.45),
    _like(
        IMM,
        organelles=140.0,
        width=0.8,
        length=0.25,
        second=CYTOSOL,
        second_share=0.3,
        photons=130000.0,
    ),
    _like(GOLGI, gather=0.3, organelles=26.0, second=CYTOSOL, second_share=0.75, photons=150000.0),
    _like(PEROXISOME, organelles=14.0, second=ENVELOPE, second_share=0.5, photons=90000.0),
    _like(ENDOSOME, organelles=4.0, width=2.6, second=CYTOSOL, second_share=0.6, photons=120000.0),
    _like(CYTOSOL, second=ENDOSOME, second_share=0.25),
)
"""Parameters by place in the data set: first proteins of one compartment each, then others with
other numbers and sizes of organelles, or with a second compartment. All figures are chosen, such
that classes differ by eye and in texture."""


def made_up_class(place: int) -> ProteinClass:
    """Return the made-up class at a place in a data set, counted from 0.

    Beyond the end of `MADE_UP_CLASSES` its rows are repeated and differ in brightness alone, so
    that such classes are hard to tell apart.
    """
    again, row = divmod(place, len(MADE_UP_CLASSES))
    protein = MADE_UP_CLASSES[row]
    return replace(protein, photons=protein.photons * _BRIGHTER**again)


def made_up_dataset(n_classes: int, crop: int = 64, references: int = 2) -> Dataset:
    """Describe a data set of made-up classes, which `simulate_described` simulates.

    Parameters
    ----------
    n_classes : int
        From 2 to `dataset.MAX_CLASSES`.
    crop : int
        Height and width of a crop in pixels.
    references : int
        Number of reference splits, at least 0.

    Raises
    ------
    DataError
        For a number of classes or a crop that no data set may have.
    """
    if not 2 <= n_classes <= MAX_CLASSES:
        raise DataError(f"{n_classes} made-up classes asked for, expected 2 to {MAX_CLASSES}.")
    others = [
        {
            "name": f"Reference {place}",
            "role": REFERENCE,
            "files": f"reference-{place}_*.h5",
            "meaning": f"other plates, shift {place} of {references}",
        }
        for place in range(1, references + 1)
    ]
    training = {
        "name": "Training",
        "role": TRAIN,
        "files": "training_*.h5",
        "meaning": "plates without a shift",
    }
    described = {
        "name": "made-up",
        "classes": [
            {"name": f"made-up {place}", "short": f"M{place}"} for place in range(1, n_classes + 1)
        ],
        "crop": crop,
        "pixel_size": microscope.PIXEL_UM,
        "wells": "one_class_per_well",
        "splits": [training, *others],
    }
    return Dataset.from_dict(described, "made-up classes")
