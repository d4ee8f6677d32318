"""Score a plate with a registered model in Spark: one row a cell in, a folder of Parquet out.

Usage: python scripts/examples/score_with_spark.py new_plate.h5 models:/texture-lr@champion scored

docs/spark.md says what a cluster needs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Annotated

import mlflow
import pyarrow as pa
import typer
from mlflow.exceptions import MlflowException
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession

from coos_mlflow.errors import CoosError, DataError
from coos_mlflow.plates.reader import Plate, open_plate
from coos_mlflow.plates.schema import CellBatch

CELLS = "Metadata_Index bigint, Metadata_Plate string, Metadata_Well string, images array<float>"
"""The columns of `read_cells`; the model takes the last.

A cell is a flat list of raw counts: the rows of the protein channel, then those of the nucleus;
8,192 with a crop of 64 pixels. Single precision holds both what microscopes count (uint16) and what
was corrected since.
"""

BATCH = 512
"""Cells that Spark hands to Python at a time, 17 MB. Its default of 10,000 is 330 MB a task."""


def start(master: str) -> SparkSession:
    """Return a Spark session whose executors run the Python that runs this script."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("score_with_spark").master(master)
    spark = builder.config("spark.ui.enabled", "false").getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(BATCH))
    # Spark would log the traceback of a failed task several times before it raises it.
    spark.sparkContext.setLogLevel("OFF")
    return spark


def read_cells(spark: SparkSession, path: str) -> DataFrame:
    """Return the cells of a plate file that every executor can open under `path`."""
    with open_plate(path) as plate:
        n_cells = plate.n_cells

    def read(firsts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with open_plate(path) as plate:
            for batch in firsts:
                for first in batch.column(0).to_pylist():
                    for cells in plate.batches(BATCH, first, first + BATCH):
                        yield _rows(plate, cells)

    return spark.range(0, n_cells, BATCH).mapInArrow(read, CELLS)


def load(spark: SparkSession, model: str) -> Callable[..., Column]:
    """Return the model as a function of the column with the cells' counts."""
    # Spark runs a task on each core; a model that uses all of them would be in its way.
    alone = {"LOKY_MAX_CPU_COUNT": "1"}
    return mlflow.pyfunc.spark_udf(spark, model, env_manager="local", extra_env=alone)


def score(cells: DataFrame, predict: Callable[..., Column]) -> DataFrame:
    """Return label, class_name and p_0, p_1, ... of each cell beside its other columns."""
    kept = [name for name in cells.columns if name != "images"]
    return cells.select(*kept, predict("images").alias("scored")).select(*kept, "scored.*")


def sentence(error: PySparkException) -> str:
    """Return what the model or the reader said, without the traceback around it."""
    lines = str(error).splitlines()
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return raised[-1].partition(": ")[2] if raised else lines[0]


def main(
    plate: Annotated[str, typer.Argument(help="A plate file.")],
    model: Annotated[str, typer.Argument(help="models:/texture-lr@champion, or a folder.")],
    out: Annotated[str, typer.Argument(help="Folder of Parquet files, not there yet.")],
    master: Annotated[str, typer.Option(help="Of Spark.")] = "local[2]",
) -> None:
    """Score one plate in Spark and write its predictions."""
    spark = start(master)
    try:
        began = perf_counter()
        score(read_cells(spark, plate), load(spark, model)).write.parquet(out)
        seconds = perf_counter() - began
        n_cells = spark.read.parquet(out).count()
    except PySparkException as error:
        raise DataError(sentence(error)) from error
    finally:
        spark.stop()
    print(f"{out}  {n_cells:,} cells, {n_cells / seconds:,.0f} cells/s")


def _rows(plate: Plate, batch: CellBatch) -> pa.RecordBatch:
    n = len(batch)
    counts = pa.array(batch.images.astype("float32").reshape(-1))
    ends = pa.array(range(0, len(counts) + 1, len(counts) // n), pa.int32())
    index = pa.array(range(batch.start, batch.start + n), pa.int64())
    origins = plate.origins(batch.start, batch.start + n)
    plates, wells = (
        pa.nulls(n, pa.string())
        if ids is None
        else pa.array([key or None for key in ids.tolist()], pa.string())
        for ids in (origins.plates, origins.wells)
    )
    images = pa.ListArray.from_arrays(ends, counts)
    names = ["Metadata_Index", "Metadata_Plate", "Metadata_Well", "images"]
    return pa.record_batch([index, plates, wells, images], names)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CoosError, MlflowException) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 3))
