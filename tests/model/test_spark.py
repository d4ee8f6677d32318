"""The model in Spark: the example's answers are the model's own, and its refusals arrive."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.wells import well_names

JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")
EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "score_with_spark.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("pyspark") is None,
        reason="the Spark tests need PySpark: pip install 'coos-mlflow[spark]'",
    ),
    pytest.mark.skipif(
        JAVA is None, reason="the Spark tests need Java 17: apt-get install default-jre"
    ),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]


def flat(cell: np.ndarray) -> list[float]:
    return cell.reshape(-1).astype(float).tolist()


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("score_with_spark", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    # Executors then get its functions by value, as they do where it is run as a script.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "score_with_spark", module)
        spec.loader.exec_module(module)
        from pyspark import cloudpickle

        cloudpickle.register_pickle_by_value(module)
        yield module
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def spark(example):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = example.start("local[2]")
        yield session
        session.stop()


@pytest.fixture(scope="module")
def uri(trained):
    return trained.row("texture-lr").model.uri


@pytest.fixture(scope="module")
def cells(new_plate):
    with open_plate(new_plate) as plate:
        return next(plate.batches(plate.n_cells)).images


@pytest.fixture(scope="module")
def predict(example, spark, uri):
    return example.load(spark, uri)


@pytest.fixture(scope="module")
def expected(uri, cells):
    return mlflow.pyfunc.load_model(uri).predict(cells)


def test_answers_are_the_models_own_to_the_last_digit(
    example, spark, predict, expected, new_plate, tmp_path
):
    out = tmp_path / "scored"
    example.score(example.read_cells(spark, str(new_plate)), predict).write.parquet(str(out))
    found = pd.read_parquet(out)
    assert list(found["Metadata_Index"]) == list(range(len(expected)))
    assert set(found["Metadata_Plate"]) == {"new5"} and found["Metadata_Well"].nunique() == 8
    answers = found[list(expected.columns)]
    pd.testing.assert_frame_equal(answers, expected, check_exact=True)


@pytest.mark.parametrize("kind", ["array<int>", "array<float>", "array<double>"])
def test_counts_of_any_type_in_tasks_of_any_size_answer_alike(
    spark, predict, expected, cells, kind
):
    rows = [(i, flat(cell)) for i, cell in enumerate(cells[:9])]
    few = spark.createDataFrame(rows, "cell int, x array<double>").repartition(3, "cell")
    scored = few.select("cell", predict(few["x"].cast(kind)).alias("y"))
    found = scored.orderBy("cell").select("y.*").collect()
    table = pd.DataFrame.from_records(found, columns=list(expected.columns))
    pd.testing.assert_frame_equal(table, expected[:9], rtol=1e-6)


def test_a_plate_read_in_pieces_keeps_every_cell_with_its_ids(
    example, spark, new_plate, monkeypatch
):
    monkeypatch.setattr(example, "BATCH", 33)
    found = example.read_cells(spark, str(new_plate)).drop("images").collect()
    with open_plate(new_plate) as plate:
        wells = well_names(plate.wells).tolist()
        ids = list(zip(range(plate.n_cells), plate.plates.tolist(), wells, strict=True))
    assert sorted(tuple(row) for row in found) == ids


def spoilt(cell: np.ndarray) -> dict[str, object]:
    counts = flat(cell)
    return {
        "cell 0 is missing, expected a flat list of 8192 counts": None,
        r"cell 0 is float32 \(3,\), expected a flat list of 8192 counts": counts[:3],
        "scaled to": [count / 65535 for count in counts],
        "cell 0, channel 0.*is not a finite number": [None, *counts[1:]],
        "stands in every pixel": [0.0] * len(counts),
    }


@pytest.mark.parametrize("problem", list(spoilt(np.zeros((2, 64, 64)))))
def test_what_the_model_refuses_ends_the_job_with_its_sentence(
    example, spark, predict, cells, problem
):
    from pyspark.errors import PySparkException

    row = spoilt(cells[0])[problem]
    with pytest.raises(PySparkException) as caught:
        spark.createDataFrame([(row,)], "x array<float>").select(predict("x")).collect()
    said = example.sentence(caught.value)
    assert said.startswith("the request: cell 0") and "\n" not in said
    assert re.search(problem, said)
