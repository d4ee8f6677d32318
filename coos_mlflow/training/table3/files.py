"""Writes Table 3 into a folder: CSV, Markdown, an HTML page, the figure and every confusion matrix.

Open it to change a file; `coos_mlflow.training.table3.summary` decides what the pages contain.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow.metrics import confusion_table
from coos_mlflow.plates.dataset import COOS7_NAME, Dataset
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.style import DARK
from coos_mlflow.reports.templating import environment
from coos_mlflow.training.table3.figure import png
from coos_mlflow.training.table3.pages import Pages, as_csv
from coos_mlflow.training.table3.rows import Entry, Table
from coos_mlflow.training.table3.summary import class_shares, common_confusions, summarise

FIGURE, RECALLS, COMMON, CONFUSIONS = (
    *("errors.png", "recalls.csv", "common_confusions.csv", "confusions"),
)


def name_of(dataset: Dataset) -> str:
    """Return the name of the table: that of the data set, and the paper's for COOS-7."""
    return "table3" if dataset.name == COOS7_NAME else dataset.name


def files_of(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the files and folders that `write` makes: CSV, Markdown, HTML, ..."""
    name = name_of(dataset)
    return (
        *(f"{name}.{end}" for end in ("csv", "md", "html")),
        FIGURE,
        RECALLS,
        COMMON,
        CONFUSIONS,
    )


def pages_of(dataset: Dataset) -> Pages[Table]:
    """Return how the table of a data set becomes files."""
    return Pages(name_of(dataset), files_of(dataset), lambda table, *_: table, write)


def write(table: Table, folder: Path) -> None:
    """Write `files_of` into a folder; the same table gives the same bytes."""
    summary = summarise(table)
    pictures = {"light": png(table), "dark": png(table, DARK)}
    csv_file, markdown_file, page_file, *_ = files_of(table.dataset)
    texts = {
        csv_file: as_csv(_long_rows(table)),
        markdown_file: markdown(summary),
        page_file: page(summary, pictures),
        RECALLS: as_csv(_recall_rows(table)),
        COMMON: as_csv(_common_rows(table)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / FIGURE).write_bytes(pictures["light"])
    for entry in table.filled:
        matrices = folder / CONFUSIONS / entry.line.key
        matrices.mkdir(parents=True)
        for split in table.splits:
            evaluation = entry.evaluation(split)
            counts = confusion_table(evaluation, table.dataset.class_names)
            text = counts.to_csv(lineterminator="\n")
            (matrices / f"{split}.csv").write_text(text, encoding="utf-8", newline="\n")


def page(summary: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """Return a summary as one HTML page that makes no network requests.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.training.table3.summary.summarise` returned.
    pictures : dict of bytes
        The figure as PNG, ``light`` and ``dark``.
    """
    return environment().get_template("table3.html").render(**summary, pictures=pictures)


def markdown(summary: dict[str, Any]) -> str:
    """Return a summary as Markdown, the published errors in a column of their own."""
    return render_markdown(summary | {"figure": FIGURE}, "table3.md.j2")


def _long_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.entries:
        for split in table.splits:
            row = _head(entry, split) | _measured(entry, split)
            paper = entry.line.published
            if table.has_published:
                row["published_on_coos7"] = f"{paper[split]:.1f}" if paper else ""
            if table.comparable:
                both = paper and entry.rows
                row["difference"] = f"{entry.error(split) - paper[split]:.6g}" if both else ""
            yield row | {
                "dataset": table.name,
                "simulated": table.simulated,
                "dataset_digest": table.digest,
                "seeds": " ".join(map(str, table.seeds)),
                "preset": table.preset,
                "settings": " ".join(f"{k}={v}" for k, v in sorted(table.settings.items())),
                "missing": entry.missing,
            }


def _head(entry: Entry, split: str) -> dict[str, str]:
    features, layer, model = entry.line.triple
    return {
        "row": entry.line.key,
        "features": features,
        "layer": layer,
        "model": model,
        "split": split,
    }


def _measured(entry: Entry, split: str) -> dict[str, Any]:
    names = ("error", "low", "high", "n_seeds", "sd", "error_by_seed", "cells")
    if not entry.rows:
        return dict.fromkeys(names, "")
    low, high = entry.interval(split) or (None, None)
    numbers = (entry.error(split), low, high, len(entry.rows), entry.deviation(split))
    texts = ["" if number is None else f"{number:.6g}" for number in numbers]
    by_seed = " ".join(f"{error:.6g}" for error in entry.errors(split))
    cells = entry.rows[0].evaluations[split].n_cells
    return dict(zip(names, [*texts, by_seed, cells], strict=True))


def _recall_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.filled:
        for split in table.splits:
            recalls = entry.evaluation(split).recalls
            yield _head(entry, split) | {
                name: "" if np.isnan(recall) else f"{recall:.6g}"
                for name, recall in zip(table.dataset.class_names, recalls, strict=True)
            }


def _common_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.filled:
        for split in table.splits:
            confusions = common_confusions(class_shares(entry.evaluation(split).confusion))
            for rank, confusion in enumerate(confusions, 1):
                yield _head(entry, split) | {
                    "rank": rank,
                    "true_class": table.dataset.class_names[confusion.true],
                    "called": table.dataset.class_names[confusion.called],
                    "share": f"{confusion.share:.6g}",
                }
