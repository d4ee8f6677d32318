"""`coos simulate` with made-up classes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from coos_mlflow.cli.main import app
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.plates.dataset_file import read_dataset, write_dataset
from coos_mlflow.plates.splits import find_files
from coos_mlflow.simulate import made_up_dataset

SMALL = ("--plates", "2", "--wells", "1", "--cells", "2")


def coos(*words: object) -> str:
    """Run a command; return what it prints, or raise what it raises."""
    done = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(done.exception, CoosError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_number_of_classes_is_enough(tmp_path):
    said = coos("simulate", tmp_path, "--classes", 4, "--crop", 33, "--references", 1, *SMALL)
    assert said.count("2 files, 16 simulated cells") == 2
    dataset = read_dataset(tmp_path / "dataset.yaml")
    assert (dataset.n_classes, dataset.crop, len(dataset.references)) == (4, 33, 1)
    assert {split: len(paths) for split, paths in find_files(tmp_path, dataset).items()} == {
        "training": 2,
        "reference-1": 2,
    }


def test_a_description_is_simulated_where_it_lies(tmp_path):
    file = tmp_path / "dataset.yaml"
    write_dataset(made_up_dataset(2, 32, 0), file)
    before = file.read_bytes()
    said = coos("simulate", tmp_path, "--dataset", file, *SMALL)
    assert "Training: 2 files, 8 simulated cells" in said
    assert file.read_bytes() == before
    with pytest.raises(OutputError, match="is there already"):
        coos("simulate", tmp_path, "--dataset", file, *SMALL)
    coos("simulate", tmp_path, "--dataset", file, "--force", *SMALL)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--crop", "48"], "--crop 48 found without --classes or --dataset"),
        (["--plates", "2"], "--plates 2 found without"),
        (["--classes", "3", "--scale", "0.5"], r"--scale 0\.5 found with made-up classes"),
        (["--dataset", "x.yaml", "--classes", "3"], "--classes 3 found with --dataset"),
        (["--dataset", "x.yaml", "--references", "0"], "--references 0 found with --dataset"),
        (["--classes", "1"], "1 made-up classes asked for, expected 2 to 100"),
        (["--classes", "3", "--crop", "300"], "crop: '300' found"),
        (["--classes", "3", "--wells", "400"], "400 inner wells asked for"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, words, message):
    with pytest.raises(DataError, match=message):
        coos("simulate", tmp_path / "new", *words)
    assert not (tmp_path / "new").exists()
