"""A lab's own cells from description to report: other classes, crops, plates and splits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError
from coos_mlflow.model import bundle
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.schema import CHANNELS
from coos_mlflow.plates.writer import PlateWriter
from coos_mlflow.registry import versions
from coos_mlflow.registry.runs import prepare_store
from coos_mlflow.scoring.remote import packed, score_plate
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.simulate.described import Size, simulate_described
from coos_mlflow.simulate.made_up import made_up_dataset

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")

pytestmark = pytest.mark.slow


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store and a cache for all tests of this file."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("COOS_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("MLFLOW_EXPERIMENT")]:
            patch.delenv(name)
        yield folder


@pytest.fixture(scope="module")
def three(store: Path) -> Path:
    """Three classes, crops of 80 pixels, twelve plates: six train, two references have three."""
    folder = store / "three"
    dataset = made_up_dataset(3, crop=80)
    files = simulate_described(folder, dataset, Size(plates=6, wells=2, cells=12), seed=3)
    for split in dataset.references:
        for path in files[split][3:]:
            path.unlink()
    assert len(list(folder.glob("*.h5"))) == 12
    return folder


@pytest.fixture(scope="module")
def trained(three: Path) -> Path:
    """The folder of the three classes, with a texture model, a small DeepLoc and PCI."""
    run("train", "texture", "--data", three, "--classifiers", "lr", "--cv-folds", 2)
    small = "width=0.05; iterations=6; batch=8; check_every=3"
    run("train", "deeploc", "--data", three, "--classifiers", "own", "--set", small)
    small = "width=0.05; epochs=1; batch=8; least_cells=4"
    run("train", "pci", "--data", three, "--classifiers", "lr", "--layers", "conv3",
        "--cv-folds", 2, "--set", small)  # fmt: skip
    return three


MODELS = ("made-up.texture-lr", "made-up.deeploc", "made-up.pci-lr")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_registered_under_the_data_sets_name_and_holds_its_description(trained, name):
    prepare_store(make=False)
    model = versions.resolve(name)
    assert {"error_training", "error_reference-1", "error_reference-2"} <= set(model.tags)
    scorer = Scorer.load(name)  # keeps the copy of its files
    dataset = scorer.dataset
    experiment = mlflow.get_run(str(model.run_id)).info.experiment_id
    assert mlflow.get_experiment(experiment).name == "made-up"
    assert (dataset.n_classes, dataset.crop, dataset.cell_shape) == (3, 80, (2, 80, 80))
    said = json.loads((scorer.bundle / bundle.DESCRIPTION).read_text())["dataset"]
    assert [one["name"] for one in said["classes"]] == list(dataset.class_names)


@pytest.fixture(scope="module")
def new_plate(three: Path) -> Path:
    return next(iter(sorted(three.glob("reference-1_*.h5"))))


@pytest.mark.parametrize("name", MODELS)
def test_a_plate_is_scored_with_no_other_flag(trained, new_plate, tmp_path, name):
    said = run("score", new_plate, "--model", name, "--out", tmp_path)
    assert "made-up 1" in said
    table = pd.read_parquet(tmp_path / new_plate.stem / "predictions.parquet")
    assert [column for column in table if column.startswith("p_")] == ["p_0", "p_1", "p_2"]
    assert list(table["class_name"].cat.categories) == ["made-up 1", "made-up 2", "made-up 3"]
    np.testing.assert_allclose(table[["p_0", "p_1", "p_2"]].sum(axis=1), 1, atol=1e-5)
    wells = pd.read_parquet(tmp_path / new_plate.stem / "wells.parquet")
    assert wells["cells"].sum() == len(table)
    assert {"share_0", "share_2_high"} <= set(wells) and "share_3" not in wells


def test_labels_are_better_than_chance(trained, new_plate, tmp_path):
    Scorer.load("made-up.texture-lr").score(new_plate, tmp_path)
    table = pd.read_parquet(tmp_path / new_plate.stem / "predictions.parquet")
    with open_plate(new_plate) as plate:
        assert np.mean(table["label"] == plate.labels) > 0.7


@pytest.mark.parametrize("name", MODELS)
def test_a_served_model_gives_the_scorers_table(trained, served_here, new_plate, tmp_path, name):
    scored = Scorer.load(name, "fp32").score(new_plate, tmp_path)
    address = served_here(scored.model.uri)
    served = score_plate(new_plate, address)
    expected = pd.read_parquet(scored.folder / "predictions.parquet")
    assert served["class_name"].cat.categories.equals(expected["class_name"].cat.categories)
    pd.testing.assert_frame_equal(served, expected, atol=2e-2, check_exact=False)
    small = np.random.default_rng(0).integers(0, 999, (1, 2, 64, 64)).astype(np.uint16)
    headers = {"Content-Type": "application/x-npy"}
    refused = requests.post(
        f"{address}/invocations", data=packed(small), headers=headers, timeout=60
    )
    assert refused.status_code == 400
    assert "has crops of 64 pixels" in refused.json()["message"]
    assert "80 x 80" in refused.json()["message"]


def other_plate(path: Path, crop: int, channels: int = 2, **attrs: object) -> Path:
    cells = np.random.default_rng(1).integers(10, 3000, (4, channels, crop, crop))
    if channels == len(CHANNELS):
        with PlateWriter(path, 4, crop=crop, attrs=dict(attrs)) as writer:
            writer.append(cells.astype(np.uint16))
    else:
        with h5py.File(path, "w") as file:
            file["data"] = cells.astype(np.uint16)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: other_plate(path, 64), r"crops of 64 pixels.*cut crops of 80 x 80 pixels"),
        (lambda path: other_plate(path, 80, channels=3), "has 3 channels, expected"),
    ],
)
def test_a_plate_of_other_cells_is_refused_with_what_to_do(trained, tmp_path, make, words):
    plate = make(tmp_path / "other.h5")
    with pytest.raises(DataError, match=words) as refused:
        run("score", plate, "--model", MODELS[0], "--out", tmp_path / "scores")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "scores").exists()


def test_models_of_several_data_sets_live_in_one_registry(trained, three, store, monkeypatch):
    twelve = store / "twelve"
    simulate_described(twelve, made_up_dataset(12, crop=48, references=1), Size(3, 2, 10), seed=5)
    text = (twelve / "dataset.yaml").read_text().replace("name: made-up\n", "name: twelve\n")
    (twelve / "dataset.yaml").write_text(text)
    run("train", "texture", "--data", twelve, "--classifiers", "lr", "--cv-folds", 2)
    plate = next(iter(sorted(twelve.glob("reference-1_*.h5"))))
    run("score", plate, "--model", "twelve.texture-lr", "--out", store / "scores")
    table = pd.read_parquet(store / "scores" / plate.stem / "predictions.parquet")
    assert len(table["class_name"].cat.categories) == 12
    with open_plate(plate) as opened:
        assert np.mean(table["label"] == opened.labels) > 0.4  # 1 in 12 by chance
    monkeypatch.setenv("COLUMNS", "200")
    listed = run("models", "list")
    places = [listed.index(words) for words in ("made-up.texture-lr", "twelve.texture-lr")]
    assert listed.index("Champions on made-up") < places[0]
    assert places[0] < listed.index("Champions on twelve") < places[1]
    with pytest.raises(DataError, match="crops of 48 pixels"):
        run("score", plate, "--model", MODELS[0], "--out", store / "scores")


browser = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason="the browser tests need Chromium: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], WebDriver]]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("chromium")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def read(page: Path) -> WebDriver:
        driver.get(page.as_uri())
        return driver

    yield read
    driver.quit()


@browser
def test_the_report_names_the_labs_own_classes_and_splits(trained, new_plate, tmp_path, opened):
    scored = Scorer.load("made-up.texture-lr").score(new_plate, tmp_path)
    page = opened(scored.folder / "report.html")
    text = page.find_element(By.TAG_NAME, "main").text
    for words in ("made-up 1", "made-up 3", "Reference 1", "Reference 2"):
        assert words in text
    assert not re.search(r"Test[1-4]|Golgi|COOS-7", text)
    assert page.find_element(By.TAG_NAME, "h1").text.lower() == scored.drift["verdict"]
    bar = page.find_element(By.CSS_SELECTOR, "#shares .bar.c0")
    colour = scored.drift["dataset"]["classes"][0]["colour"]
    rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    assert bar.value_of_css_property("fill") == f"rgb({rgb[0]}, {rgb[1]}, {rgb[2]})"


@browser
def test_the_table_has_the_data_sets_name_and_splits(trained, three, tmp_path, opened):
    out = tmp_path / "table"
    said = run("table3", "--data", three, "--rows", "texture-lr", "--preset", "quick", "--out", out)
    assert "made-up.csv" in said
    rows = pd.read_csv(out / "made-up.csv")
    assert list(rows["split"]) == ["training", "reference-1", "reference-2"]
    assert "published_on_coos7" not in rows
    page = opened(out / "made-up.html")
    text = page.find_element(By.TAG_NAME, "main").text
    assert "Reference 2" in text and "made-up" in text
    assert "published" not in text.lower()


def three_channels(path: Path, seed: int, labels: list[str]) -> Path:
    """Write a plate of nucleus, actin and protein; the protein of "beta" is a slope, else noise."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(50, 900, (len(labels), 3, 48, 48))
    cells[[label == "beta" for label in labels], 2] = 60 * np.arange(48) + rng.integers(50, 90, 48)
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["data"], file["labels"] = cells.astype(np.uint16), labels
        file["plateIDs"] = [path.stem] * len(labels)
        file["wellIDs"] = ["A01" if label == "beta" else "B02" for label in labels]
    return path


def test_channels_are_read_in_the_order_of_the_data_set(store, tmp_path):
    folder = tmp_path / "mixed"
    for seed, name in enumerate(("train_1", "train_2", "far")):
        three_channels(folder / f"{name}.h5", seed, ["alpha", "beta", "alpha", "beta"] * 5)
    three_channels(folder / "train_3.h5", 7, ["alpha", "beta", "", ""] * 5)
    run("dataset", "init", folder)
    text = (folder / "dataset.yaml").read_text()
    named = text.replace("[protein, nucleus, other 1]", "[nucleus, actin, protein]")
    assert named != text
    (folder / "dataset.yaml").write_text(named)
    run("train", "texture", "--data", folder, "--classifiers", "lr", "--cv-folds", 2)
    # The labels of a plate that is scored need not be classes of the model.
    plate = three_channels(tmp_path / "new.h5", 9, ["treated", "beta"] * 10)
    run("score", plate, "--model", "mixed.texture-lr", "--out", tmp_path / "scores")
    table = pd.read_parquet(tmp_path / "scores" / "new" / "predictions.parquet")
    assert table["class_name"].tolist() == ["alpha", "beta"] * 10
