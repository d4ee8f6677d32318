"""Real cells of other laboratories through description, training, table and scoring.

docs/real.md says what comes out. The files lie in `../shared/real/cells` beside the repository;
without them these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError
from coos_mlflow.plates.dataset_file import read_dataset

pytestmark = pytest.mark.slow

CELLS = Path(__file__).parents[2] / "shared" / "real" / "cells"
SCRIPTS = Path(__file__).parents[1] / "scripts"

PROJECTS = """\
name: dyes
classes: [{name: ER}, {name: AGP}, {name: Mitochondria, short: Mito}, {name: RNA}]
crop: 64
wells: mixture
splits:
  - {name: PCA, role: train, files: "pca*.h5", allow: [one-plate-classes]}
  - {name: JUMP, role: reference, files: "jump*.h5"}
  - {name: Broad, role: reference, files: "broad*.h5"}
"""
"""Three Cell Painting projects: which dye is it? One trains, two are references."""


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def real(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with copies of the plates, and a store and a cache of their own."""
    if not CELLS.is_dir():
        pytest.skip("the real cells are not beside the repository (../shared/real/cells)")
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(CELLS, folder / "cells")
    shutil.copy(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("COOS_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def dyes(real: Path) -> Path:
    folder = real / "dyes"
    folder.mkdir()
    for name in ("pca_BR00143976.h5", "jump_BR00117006.h5", "broad_BR00121482.h5"):
        shutil.copy(CELLS / name, folder)
    (folder / "dataset.yaml").write_text(PROJECTS)
    run("train", "texture", "--data", folder, "--preset", "quick")
    return folder


def test_init_describes_all_plates_and_check_says_what_they_lack(real: Path) -> None:
    said = run("dataset", "init", real / "cells")
    assert "4 classes, crops of 64 pixels" in said
    dataset = read_dataset(real / "cells" / "dataset.yaml")
    assert [one.label for one in dataset.classes] == [0, 1, 2, 3]
    files = {name for split in dataset.splits for name in split.files}
    assert "md_IM-Assays-EXP2.h5" not in files  # its cells have no labels
    with pytest.raises(DataError, match="on one plate only"):
        run("dataset", "check", real / "cells")


def test_the_same_nuclei_in_training_and_reference_are_leakage(real: Path) -> None:
    """Each nucleus occurs once for each dye: plates of single dyes share nuclei."""
    import h5py
    import numpy as np

    folder = real / "split_by_dye"
    folder.mkdir()
    with h5py.File(CELLS / "jump_BR00117006.h5") as file:
        columns = {name: file[name][:] for name in ("data", "labels", "plateIDs", "wellIDs")}
    for name, rows in (("train", slice(0, None, 2)), ("test", slice(1, None, 2))):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for key, values in columns.items():
                file[key] = values[rows]
    assert len(np.unique(columns["labels"])) == 2
    run("dataset", "init", folder)
    with pytest.raises(DataError, match="nucleus images of test are in Training too"):
        run("dataset", "check", folder)


@pytest.mark.parametrize("plate", ["jump_BR00117006.h5", "md_IM-Assays-EXP2.h5"])
def test_few_plates_never_give_a_verdict(dyes: Path, real: Path, plate: str) -> None:
    run("score", real / "cells" / plate, "--model", "dyes.texture-lr", "--out", real / "scores")
    folder = real / "scores" / Path(plate).stem
    drift = json.loads((folder / "drift.json").read_text())
    assert drift["verdict"] == "cannot tell"
    assert drift["error"]["balanced_error"] is None
    table = pd.read_parquet(folder / "predictions.parquet")
    assert set(table["class_name"].dropna()) <= {"ER", "AGP", "Mitochondria", "RNA"}


def test_fifty_labels_measure_the_error_of_a_real_plate(dyes: Path, real: Path) -> None:
    """Cells of another project, labelled in a sheet by their own labels: which dye is it?"""
    import h5py

    plate, out = real / "cells" / "jump_BR00117006.h5", real / "labelled"
    run("score", plate, "--model", "dyes.texture-lr", "--out", out)
    folder, sheet = out / plate.stem, real / "sheet.csv"
    run("audit", folder, "--export", sheet, "--cells", 50, "--labeller", "own labels")
    with h5py.File(plate) as file:
        truths = file["labels"][:]
    cells = pd.read_csv(sheet)
    names = [one.name for one in read_dataset(dyes / "dataset.yaml").classes]
    cells["label"] = [names[truths[cell]] for cell in cells["cell"]]
    cells.to_csv(sheet, index=False)
    assert "50" in run("audit", folder, "--import", sheet, "--labeller", "own labels")
    audit = json.loads((folder / "drift.json").read_text())["audit"]
    table = pd.read_parquet(folder / "predictions.parquet")
    right = table["label"].to_numpy() == truths
    exact = 100 * (
        1 - sum(right[truths == c].mean() for c in audit["classes"]) / len(audit["classes"])
    )
    assert audit["n_cells"] == 50
    assert audit["low"] <= exact <= audit["high"]
    assert "measured on 50 cells" in (folder / "report.html").read_text().replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_the_table_shows_the_drop_between_projects(dyes: Path, real: Path) -> None:
    out = real / "table"
    run("table3", "--data", dyes, "--rows", "texture-*", "--preset", "quick", "--out", out)
    rows = pd.read_csv(out / "dyes.csv").set_index(["row", "split"])["error"]
    for row in ("texture-knn", "texture-lr", "texture-rf"):
        assert rows[row, "jump"] > rows[row, "training"]


def test_a_plate_whose_classes_are_its_wells_is_refused(
    real: Path,
) -> None:
    folder = real / "confounded"
    folder.mkdir()
    shutil.copy(CELLS / "bbbc014_two_wells.h5", folder)
    run("dataset", "init", folder)
    with pytest.raises(DataError, match="on one plate only"):
        run("train", "texture", "--data", folder)


def test_cells_without_labels_cannot_be_a_data_set(
    real: Path,
) -> None:
    folder = real / "yeast"
    folder.mkdir()
    shutil.copy(CELLS.parent / "yeast_cells.hdf5", folder)
    with pytest.raises(DataError, match="none of 1 plate files has labels"):
        run("dataset", "init", folder)


def test_no_file_of_other_proteins_is_in_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells of other cell lines, proteins and microscopes, judged by a model of simulated cells."""
    if not CELLS.is_dir():
        pytest.skip("the real cells are not beside the repository (../shared/real/cells)")
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("real_verdicts", SCRIPTS / "real_verdicts.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "real_verdicts", script)
    spec.loader.exec_module(script)
    looks = dict(script.looks_at_others(CELLS.parent, tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "drift_validation"]:
        del sys.modules[name]
    assert len(looks) == 1 + len(list(CELLS.glob("*.h5")))
    assert {name for name, one in looks.items() if one.said["verdict"] == "in range"} == set()
    jump = looks["jump_BR00117006"].said
    assert jump["verdict"] == "shifted"  # though all its cells come from one well
    assert jump["reason"].startswith("The plate lies far outside what the model knows")
    assert jump["error"]["balanced_error"] is None
