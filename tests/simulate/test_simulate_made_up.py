"""Made-up classes are told apart by texture, less well the further a plate is from Training."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from coos_mlflow.representations.texture import Texture
from coos_mlflow.simulate import Size, made_up_dataset
from coos_mlflow.simulate.described import plan_described
from coos_mlflow.simulate.experiment import simulate_wells


def errors(n_classes: int, crop: int, size: Size) -> dict[str, float]:
    """Balanced error in per cent of a logistic regression on texture.

    "left out" is the last plate of Training, which is not fitted on.
    """
    plans = plan_described(made_up_dataset(n_classes, crop, 2), size, 0)
    features, labels, plates = {}, {}, {}
    for split, of_split in plans.items():
        wells = [well[split] for well in simulate_wells(of_split, 0)]
        images = np.concatenate([well["images"] for well in wells])
        features[split] = Texture().transform(images)["haralick"]
        labels[split] = np.concatenate([well["labels"] for well in wells])
        plates[split] = np.concatenate([well["plates"] for well in wells])
    out = plates["training"] == plans["training"][-1].plate
    for known in (features, labels):
        known["left out"], known["training"] = known["training"][out], known["training"][~out]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    model.fit(features["training"], labels["training"])
    return {
        split: 100 * (1 - balanced_accuracy_score(labels[split], model.predict(features[split])))
        for split in ("left out", "reference-1", "reference-2")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_classes", "crop", "size", "most"),
    [(3, 80, Size(4, 4, 14), 8), (12, 48, Size(4, 3, 13), 20)],
)
def test_classes_are_told_apart_on_new_plates_and_less_well_further_away(
    n_classes, crop, size, most
):
    error = errors(n_classes, crop, size)
    assert error["left out"] < most
    assert error["reference-2"] > error["left out"] + 5
    assert error["left out"] - 3 < error["reference-1"] < error["reference-2"] - 3
    assert error["reference-2"] < 60
