"""Fills rows within one MLflow run and writes what was measured into a folder of pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from coos_mlflow._utils.files import check_folder, whole_folder
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.registry.artifacts import log_data
from coos_mlflow.registry.notes import NOTE, top_of
from coos_mlflow.registry.runs import log_new_params, prepare_store, run, training_experiment
from coos_mlflow.training.table3.rows import Line, Table, fill

Say = Callable[[str], None]

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Pages(Generic[Measured]):
    """How filled rows become files.

    Parameters
    ----------
    name : str
        Of the MLflow run.
    files : tuple of str
        Files and folders that `write` makes: CSV, Markdown, HTML and others.
    measure : callable
        Called with the filled table, the data and `Say`; returns what `write` needs.
    write : callable
        Called with what was measured and a folder; writes `files` into it.
    """

    name: str
    files: tuple[str, ...]
    measure: Callable[[Table, TrainingData, Say], Measured]
    write: Callable[[Measured, Path], None]

    def make(
        self,
        lines: Sequence[Line],
        data: TrainingData,
        out: Path,
        *,
        preset: str,
        seeds: Sequence[int],
        settings: dict[str, Any],
        force: bool = False,
        say: Say,
    ) -> Measured:
        """Fill the rows within one MLflow run; write the files and log them as artifacts.

        Parameters
        ----------
        out : Path
            Folder for the files; it appears with all of them or not at all.
        force : bool
            Replace a folder that holds only such files.
        lines, data, preset, seeds, settings, say
            See `coos_mlflow.training.table3.rows.fill`.
        """
        import mlflow

        check_folder(out, force, self.files)
        prepare_store()
        tags = {"dataset": data.name, "simulated": data.simulated}
        with run(self.name, training_experiment(data.dataset), tags):
            params = {"rows": len(lines), "seeds": " ".join(map(str, seeds)), **settings}
            log_data(data)
            table = fill(lines, data, preset=preset, seeds=seeds, settings=settings, say=say)
            log_new_params(params | {"preset": table.preset})
            measured = self.measure(table, data, say)
            with whole_folder(out, force, self.files) as folder:
                self.write(measured, folder)
            mlflow.log_artifacts(str(out))
            text, page = (
                next(file for file in self.files if file.endswith(end)) for end in (".md", ".html")
            )
            mlflow.set_tag(NOTE, top_of((out / text).read_text(encoding="utf-8"), page))
        return measured


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as CSV under the names of the first one."""
    records = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()
