"""What a data set says of itself: defaults, checks, colours, and the way through YAML."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import coos_mlflow
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset import COLOURS, Dataset, colours, coos7, short_names
from coos_mlflow.plates.dataset_file import dataset_of_folder, read_dataset, write_dataset

SPLITS = [
    {"name": "Campaign 1", "role": "train", "files": ["a.h5", "b*.h5"]},
    {"name": "Near", "role": "reference", "files": "near.h5"},
    {"name": "Far Away", "role": "reference", "files": "far/*.h5"},
]
VALUES: dict[str, Any] = {
    "name": "mydata",
    "classes": ["Lysosomes", "Tubulin cytoskeleton", {"name": "Nucleoli", "label": 7}],
    "channels": ["nucleus", "actin", "protein"],
    "crop": 80,
    "splits": SPLITS,
}


def described(**changes: Any) -> Dataset:
    return Dataset.from_dict(VALUES | changes, "dataset.yaml")


def test_coos7_is_one_data_set_among_others() -> None:
    dataset = coos7()
    assert dataset.n_classes == len(dataset.class_names) == 7
    assert dataset.cell_shape == (2, 64, 64)
    assert dataset.split_keys == ("training", "test1", "test2", "test3", "test4")
    assert dataset.model_prefix == ""


def test_what_is_not_said_has_a_default() -> None:
    dataset = described()
    assert dataset.short_names == ("Lysoso", "TC", "Nucleoli")
    assert [one.label for one in dataset.classes] == [0, 1, 7]
    assert [one.colour for one in dataset.classes] == list(COLOURS[:3])
    assert dataset.split_keys == ("training", "near", "far-away")
    assert dataset.read_channels == (2, 0)
    assert dataset.model_prefix == "mydata."


def test_training_comes_first_wherever_it_stands() -> None:
    assert described(splits=SPLITS[::-1]).split_keys == ("training", "far-away", "near")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "my data"}, "name: 'my data' found"),
        ({"name": None}, "name: 'None' found"),
        ({"classes": ["one"]}, "classes: 1 found, expected at least 2"),
        ({"classes": [1, 2]}, r"classes\[0\]: '1' found; expected a name, or keys"),
        ({"classes": ["one", "One"]}, "2 classes have the name 'one', expected one"),
        ({"classes": ["one", False]}, r"classes\[1\]: 'False' found"),
        ({"classes": [{"name": "a", "label": 1}, {"name": "b"}]}, "2 classes have the label 1"),
        ({"classes": [{"name": "a", "color": "#fff"}, "b"]}, r"classes\[0\].color is not known"),
        ({"classes": [{"name": "a", "colour": "red"}, "b"]}, r"classes\[0\].colour: 'red' found"),
        ({"crop": 31}, "crop: '31' found; input should be greater than or equal to 32"),
        ({"crop": 257}, "crop: '257' found; input should be less than or equal to 256"),
        ({"crop": "64"}, "crop: '64' found; input should be a valid integer"),
        ({"pixel_size": 0}, "pixel_size: '0' found"),
        ({"wells": "pure"}, "wells: 'pure' found"),
        ({"channels": ["protein", "actin"]}, "expected one of them to be named 'nucleus'"),
        ({"splits": []}, "splits"),
        ({"splits": SPLITS[1:]}, "0 splits with the role train found"),
        ({"splits": [SPLITS[0], SPLITS[0] | {"name": "x"}]}, "have the name 'training'"),
        ({"splits": [SPLITS[0], SPLITS[1] | {"name": "training"}]}, "training"),
        ({"splits": [SPLITS[0] | {"files": []}]}, r"splits\[0\].files"),
        ({"splits": [SPLITS[0] | {"allow": "all"}]}, r"splits\[0\].allow"),
        ({"classes": ["a", "b\x1b[2J"]}, r"classes\[1\].name: expected one line without control"),
        (
            {"splits": [SPLITS[0] | {"name": "a\nb"}]},
            r"splits\[0\].name: 'a\\nb' found; expected one",
        ),
        ({"splits": [SPLITS[0] | {"meaning": "\u202ea"}]}, r"splits\[0\].meaning: .* expected one"),
        ({"cell_size": 3}, "cell_size is not known, expected some of name, classes"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        described(**change)
    assert str(refused.value).startswith("dataset.yaml: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "just text", "- 1\n- 2", "a: [1", "a: 2024-99-99", "\0"])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"dataset\.yaml"):
        read_dataset(path)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DataError, match="crop is missing"):
        Dataset.from_dict({k: v for k, v in VALUES.items() if k != "crop"}, "dataset.yaml")


@pytest.mark.parametrize("dataset", [coos7(), described(licence="CC0", citation="me: 'x' # y")])
def test_a_written_description_is_read_as_it_was(tmp_path: Path, dataset: Dataset) -> None:
    write_dataset(dataset, tmp_path / "dataset.yaml", {"classes": ["A remark: with # and 'x'."]})
    assert read_dataset(tmp_path / "dataset.yaml") == dataset
    assert dataset_of_folder(tmp_path) == dataset
    assert "# A remark" in (tmp_path / "dataset.yaml").read_text()
    assert Dataset.from_dict(dataset.as_dict(), "") == dataset


def test_a_byte_order_mark_does_not_hurt(tmp_path: Path) -> None:
    text = yaml.safe_dump(VALUES)
    (tmp_path / "dataset.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_dataset(tmp_path / "dataset.yaml") == described()


def test_abbreviations_differ_even_where_names_are_alike() -> None:
    names = ["Protein of interest A", "Protein of interest B", "Golgi", "Protein of interest AA"]
    names += [f"made-up {number}" for number in range(1, 12)]
    shorts = short_names(names)
    assert len(set(shorts)) == len({short.strip() for short in shorts}) == len(names)


def test_abbreviations_stand_for_no_missing_label_and_for_no_other_class() -> None:
    shorts = short_names(["Endoplasmic reticulum", "ER", "nuclear aggregates"])
    assert shorts[1] == "ER"
    assert len({short.casefold() for short in shorts} | {"na"}) == 4


@pytest.mark.parametrize("name", ["None", "NA", "-1", "unlabelled"])
def test_a_class_is_not_called_like_a_missing_label(name: str) -> None:
    with pytest.raises(DataError, match="stands for a missing label"):
        described(classes=["actin", name])


@pytest.mark.parametrize("name", ["coos-7", "Coos-Score"])
def test_names_of_experiments_are_taken(name: str) -> None:
    with pytest.raises(DataError, match="which names an experiment of this package"):
        described(name=name)


def test_accents_are_composed_as_in_plate_files() -> None:
    assert described(classes=["Ge\u0301rard", "b"]).class_names[0] == "G\u00e9rard"


def test_more_colours_than_twenty_are_all_different() -> None:
    assert len(set(colours(100))) == 100
    assert colours(20) == list(COLOURS)


MACHADO = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
"""Machado, Oliveira & Fernandes 2009, Table 1, severity 1.0."""

OKLAB_1 = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
OKLAB_2 = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
"""Ottosson 2020, "A perceptual color space for image processing"."""


def nearest_pair(palette: tuple[str, ...], sight: str) -> float:
    """Return the smallest distance of two colours in Oklab."""
    rgb = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in palette])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(MACHADO[sight]).T, 0, 1)
    lab = np.cbrt(seen @ np.array(OKLAB_1).T) @ np.array(OKLAB_2).T
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2))


def test_twenty_colours_are_as_far_apart_as_okabe_and_itos_for_every_sight() -> None:
    okabe_ito = min(nearest_pair(COLOURS[:7], sight) for sight in MACHADO)
    assert min(nearest_pair(COLOURS, sight) for sight in MACHADO) >= okabe_ito > 0.07


PACKAGE = Path(coos_mlflow.__file__).parent
OWN_FILES = ("coos7", "published.csv")
"""Parts of the names of the files that are about COOS-7 alone."""


def test_only_coos7s_own_files_name_its_classes_and_splits() -> None:
    of_coos7 = re.compile(r"\b[Ss]even\b|Test[1-4]|Endoplasmic|IMAGE_SIZE|\(n, 7\)|\(7, 7\)")
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".html", ".css", ".j2")]
    assert len(files) > 150
    for path in files:
        if any(part in path.name for part in OWN_FILES):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not of_coos7.search(line), f"{path}:{number}: {line.strip()}"
