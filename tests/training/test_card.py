"""The model card: figures, licence, what the verdict can tell, and what it must not say."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coos_mlflow.metrics import evaluate
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.registry.notes import LIMIT, for_page
from coos_mlflow.training.card import model_card

LABELS = np.repeat(np.arange(7), 20)
PLATES = np.repeat(["1", "2"], 70)
WELLS = np.tile(np.repeat(["A01", "A02", "B01", "B02"], 5), 7)


NOTHING = {"alarms": None, "of": 3, "found": {}}
"""What a verdict can find that there is none of."""


def reference(plates: dict[str, int], simulated: bool, name: str) -> SimpleNamespace:
    """What the card reads of a reference."""
    profiles = {
        split: SimpleNamespace(plates=np.repeat(np.arange(n).astype(str), 3))
        for split, n in plates.items()
    }
    return SimpleNamespace(
        profiles=profiles,
        errors={"training": 12.34},
        training_predictions="plates",
        provenance={"dataset": name, "simulated": simulated},
    )


def card(
    dataset: Dataset,
    *,
    n_plates: int = 20,
    simulated: bool = False,
    name: str = "texture-lr",
    found: dict[str, Any] | None = None,
    origin: str = "",
) -> str:
    predicted = LABELS.copy()
    predicted[::4] = 0
    evaluations = dict.fromkeys(dataset.split_keys, evaluate(LABELS, predicted, PLATES, WELLS, 7))
    plates = dict.fromkeys(dataset.split_keys, 1) | {"training": n_plates}
    known = reference(plates, simulated, "simulated" if simulated else dataset.name)
    title = "Texture haralick L1 LR"
    return model_card(name, title, dataset, evaluations, known, found or NOTHING, origin)


def lab(**changes: object) -> Dataset:
    values = {
        "name": "lab_2024",
        "classes": ["nuclear", "other"],
        "crop": 96,
        "pixel_size": 0.325,
        "splits": [
            {"name": "Train", "role": "train", "files": "a.h5"},
            {"name": "Other Day", "role": "reference", "files": "b.h5", "meaning": "next day"},
        ],
    }
    return Dataset.from_dict(values | changes, "test")


def test_it_gives_error_interval_and_cells_of_each_split():
    text = card(coos7())
    error = evaluate(LABELS, np.where(np.arange(140) % 4 == 0, 0, LABELS), PLATES, WELLS, 7)
    low, high = error.interval
    rows = [line for line in text.splitlines() if f"{low:.1f} to {high:.1f}" in line]
    assert len(rows) == 5
    for row, split in zip(rows, coos7().splits, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        expected = [split.name, split.meaning, f"{error.balanced_error:.1f}"]
        assert cells == [*expected, f"{low:.1f} to {high:.1f}", "-", "140"]
    assert "the error is 12.3 %" in " ".join(text.split())


def test_it_says_licence_and_what_to_cite_of_real_data():
    text = " ".join(card(coos7()).split())
    assert "CC-BY-NC 4.0" in text and "10.5281/zenodo.3386336" in text
    assert "imulated" not in text


def test_it_says_where_weights_of_others_come_from():
    text = " ".join(card(coos7(), origin="a file of *. Licence: CC BY 4.0. Cite: S").split())
    assert r"- Weights trained by others: a file of \*. Licence: CC BY 4.0. Cite: S - Cells" in text
    assert "Weights" not in card(coos7())


def test_simulated_cells_are_called_simulated_and_have_no_licence():
    text = " ".join(card(coos7(), simulated=True).split())
    assert "**Simulated cells: no figure here says anything about real microscopes.**" in text
    assert "CC-BY-NC" not in text


@pytest.mark.parametrize(
    ("n_plates", "words"),
    [
        (20, "compared with 20 Training plates; the smallest rank p among them is 0.048."),
        (4, 'fewer than the 5 that a verdict needs. Its verdict on every new plate is "cannot'),
    ],
)
def test_it_says_what_the_verdict_can_tell(n_plates, words):
    assert words in " ".join(card(coos7(), n_plates=n_plates).split())


def test_a_lab_reads_of_its_own_data_and_of_nothing_else():
    text = " ".join(card(lab(), name="lab_2024.texture-lr").split())
    for words in ("96 x 96 pixels of 0.325 um", "nuclear, other", "1 plate of Other Day"):
        assert words in text
    assert "`coos-score new_plate.h5 --model lab_2024.texture-lr`" in text
    assert "COOS-7" not in text and "Licence" not in text and "Cite" not in text


def test_every_card_fits_into_mlflows_stores():
    classes = [f"{n:03d} " + "*" * 190 for n in range(100)]
    splits = [{"name": "Train", "role": "train", "files": "a.h5"}]
    splits += [
        {"name": f"{n} " + "_" * 190, "role": "reference", "files": "b.h5", "meaning": "|" * 200}
        for n in range(30)
    ]
    text = card(lab(classes=classes, splits=splits, licence="<" * 1000, citation="[" * 1000))
    assert len(for_page(text, "README.md")) <= LIMIT < len(text)


def test_it_says_what_the_verdict_can_find():
    found = {"alarms": 1, "of": 20, "found": {"test3": 0.62, "test4": 0.999}}
    text = " ".join(card(coos7(), found=found).split())
    assert "1 would be called shifted" in text
    assert (
        "A plate like those of Test3 would be called shifted about 6 times in 10, one like Test4 "
        "nearly always." in text
    )
    assert "can find" not in card(coos7())
    assert "even a cell of none of them" in text
