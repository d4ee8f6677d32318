"""Table 3 as files: CSV, Markdown, one self-contained HTML page, the figure, every confusion."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coos_mlflow._utils.files import check_folder, whole_folder
from coos_mlflow.metrics import confusion_table
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.schema import CLASS_ABBREVIATIONS, CLASSES, SPLITS
from coos_mlflow.registry.artifacts import log_data
from coos_mlflow.registry.runs import TRAINING_EXPERIMENT, log_new_params, prepare_store, run
from coos_mlflow.reports.plate.html import environment
from coos_mlflow.reports.style import DARK
from coos_mlflow.training.table3.figure import png
from coos_mlflow.training.table3.rows import Entry, Line, Table, fill
from coos_mlflow.training.table3.summary import class_shares, common_confusions, summarise

CSV, MARKDOWN, HTML, FIGURE = "table3.csv", "table3.md", "table3.html", "errors.png"
RECALLS, COMMON, CONFUSIONS = "recalls.csv", "common_confusions.csv", "confusions"
FILES = (CSV, MARKDOWN, HTML, FIGURE, RECALLS, COMMON, CONFUSIONS)
"""What a folder of the table holds."""


def make(
    lines: Sequence[Line],
    data: TrainingData,
    out: Path,
    *,
    preset: str,
    seeds: Sequence[int],
    settings: dict[str, Any],
    force: bool = False,
    say: Callable[[str], None],
) -> Table:
    """Fill the table within one MLflow run and write it, as files and as the run's artifacts.

    Parameters
    ----------
    out : Path
        Folder for `FILES`, which appears whole or not at all.
    force : bool
        Whether to replace such a folder.
    lines, data, preset, seeds, settings, say
        See `coos_mlflow.training.table3.rows.fill`.
    """
    import mlflow

    check_folder(out, force, FILES)
    prepare_store()
    tags = {"dataset": data.name, "dataset_digest": data.digest, "simulated": data.simulated}
    with run("table3", TRAINING_EXPERIMENT, tags):
        asked = {"rows": len(lines), "seeds": " ".join(map(str, seeds)), **settings}
        log_data(data)
        table = fill(lines, data, preset=preset, seeds=seeds, settings=settings, say=say)
        log_new_params(asked | {"preset": table.preset})
        with whole_folder(out, force, FILES) as folder:
            write(table, folder)
        mlflow.log_artifacts(str(out))
    return table


def write(table: Table, folder: Path) -> None:
    """Write `FILES` into a folder; the same table gives the same bytes."""
    summary = summarise(table)
    pictures = {"light": png(table), "dark": png(table, DARK)}
    texts = {
        CSV: _csv(_long_rows(table)),
        MARKDOWN: markdown(summary),
        HTML: page(summary, pictures),
        RECALLS: _csv(_recall_rows(table)),
        COMMON: _csv(_common_rows(table)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / FIGURE).write_bytes(pictures["light"])
    for entry in table.filled:
        matrices = folder / CONFUSIONS / entry.line.key
        matrices.mkdir(parents=True)
        for split in SPLITS:
            text = confusion_table(entry.evaluation(split)).to_csv(lineterminator="\n")
            (matrices / f"{split}.csv").write_text(text, encoding="utf-8", newline="\n")


def page(summary: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """Return a summary as one HTML page that asks the network for nothing.

    Parameters
    ----------
    summary : dict
        What `coos_mlflow.training.table3.summary.summarise` returned.
    pictures : dict of bytes
        The figure as PNG, ``light`` and ``dark``.
    """
    uris = {
        name: "data:image/png;base64," + base64.b64encode(picture).decode("ascii")
        for name, picture in pictures.items()
    }
    return (
        environment()
        .get_template("table3.html")
        .render(**summary, pictures=uris, class_names=CLASSES, class_short=CLASS_ABBREVIATIONS)
    )


def markdown(summary: dict[str, Any]) -> str:
    """Return a summary as Markdown, the published errors in a column of their own."""
    groups = summary["groups"][1:]
    inner = " / ".join(summary["headings"])
    heads = ["Features", "Layer", "Model", *summary["headings"]]
    heads += [f"{group['title']}: {inner}" for group in groups]
    parts = [f"# {_md(summary['caption'])}"]
    parts += [f"**{summary['simulated']}**"] if summary["simulated"] else []
    parts.append(summary["intro"])
    parts.append(_md_table(heads, 3, (_md_row(row, groups) for row in summary["rows"])))
    parts += [" ".join(summary["notes"]), f"![Error by split, one line per model]({FIGURE})"]
    if summary["overall"]:
        parts.append("## What is confused with what")
        overall = ([o["split"], "; ".join(o["words"])] for o in summary["overall"])
        parts.append(_md_table(["Split", "Commonest confusions, mean over all models"], 2, overall))
        heads = ["Row", "Split", "Error", *CLASS_ABBREVIATIONS, "Commonest confusions"]
        parts.append("Recall per class in %, and the two commonest confusions:")
        parts.append(_md_table(heads, 2, _md_details(summary["details"])))
    parts.append("## How this was made")
    parts.append("\n".join(f"- {name}: {_md(value)}" for name, value in summary["provenance"]))
    return "\n\n".join(parts) + "\n"


def _md_row(row: dict[str, Any], groups: list[dict[str, str]]) -> list[str]:
    ours = row["cells"]["ours"]
    made = [_md_cell(cell) for cell in ours] if ours else [row["missing"], "", "", "", ""]
    others = [row["cells"][group["key"]] for group in groups]
    joined = [" / ".join(_md_cell(cell) for cell in cells) if cells else "" for cells in others]
    return [_md(row["features"]), _md(row["layer"]), _md(row["model"]), *made, *joined]


def _md_cell(cell: dict[str, Any]) -> str:
    text = f"**{cell['text']}**" if cell["bold"] else cell["text"]
    return f"{text} ({cell['small']})" if cell["small"] else text


def _md_details(details: list[dict[str, Any]]) -> Iterable[list[str]]:
    for row in details:
        for split in row["splits"]:
            recalls = [recall or "" for recall in split["recalls"]]
            words = "; ".join(split["words"])
            yield [_md(row["title"]), split["split"], split["error"], *recalls, words]


def _md_table(heads: list[str], texts: int, rows: Iterable[list[str]]) -> str:
    """Return a table whose first columns hold text and whose other columns hold numbers."""
    marks = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, marks, *rows])


def _md(text: str) -> str:
    """Return a text in which nothing is Markdown."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    found = list(rows)
    buffer = io.StringIO()
    names = list(found[0]) if found else []
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return buffer.getvalue()


def _long_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.entries:
        for split in SPLITS:
            row = _head(entry, split) | _measured(entry, split)
            paper = entry.line.published
            row["published_on_coos7"] = f"{paper[split]:.1f}" if paper else ""
            if table.comparable:
                both = paper and entry.rows
                row["difference"] = f"{entry.error(split) - paper[split]:.6g}" if both else ""
            yield row | {
                "dataset": table.dataset,
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
    shown = ["" if number is None else f"{number:.6g}" for number in numbers]
    by_seed = " ".join(f"{error:.6g}" for error in entry.errors(split))
    cells = entry.rows[0].evaluations[split].n_cells
    return dict(zip(names, [*shown, by_seed, cells], strict=True))


def _recall_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.filled:
        for split in SPLITS:
            recalls = entry.evaluation(split).recalls
            yield _head(entry, split) | {
                name: "" if np.isnan(recall) else f"{recall:.6g}"
                for name, recall in zip(CLASSES, recalls, strict=True)
            }


def _common_rows(table: Table) -> Iterable[dict[str, Any]]:
    for entry in table.filled:
        for split in SPLITS:
            found = common_confusions(class_shares(entry.evaluation(split).confusion))
            for rank, confusion in enumerate(found, 1):
                yield _head(entry, split) | {
                    "rank": rank,
                    "true_class": CLASSES[confusion.true],
                    "called": CLASSES[confusion.called],
                    "share": f"{confusion.share:.6g}",
                }
