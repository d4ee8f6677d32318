"""Print the tables of errors, verdicts and timings of the commands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.registry.scoring_runs import CONTROL_ERRORS, ESTIMATES, MEASURED_ERRORS
from coos_mlflow.reports.plate import controls, wording
from coos_mlflow.reports.plate.doubts import doubts
from coos_mlflow.reports.plate.headline import headline
from coos_mlflow.reports.plate.labelled import first_error, labelled_section
from coos_mlflow.reports.plate.wording import shown

if TYPE_CHECKING:
    import pandas as pd

    from coos_mlflow._utils.timings import Timings
    from coos_mlflow.plates.dataset import Dataset
    from coos_mlflow.plates.splits import TrainingData
    from coos_mlflow.scoring.record import Scored
    from coos_mlflow.training.train import Row

_NUMBER_WIDTH, _MAX_HEADING = 5, 10
"""Characters of a column of errors, and the most that a word of its heading adds."""

VERDICT_STYLES = {"in range": "bold green", "shifted": "bold red", "cannot tell": "bold yellow"}


def say_data(data: TrainingData, preset: str) -> None:
    """Print which data a run trains on, with simulated data highlighted."""
    console = Console()
    if data.simulated:
        console.print(f"[bold yellow]SIMULATED cells[/] from {escape(str(data.folder))}")
        console.print("No figure of this run says anything about a real microscope.")
    else:
        console.print(f"{data.name} from {escape(str(data.folder))}")
    console.print(f"preset: {preset}")


def show_rows(rows: list[Row], data: TrainingData) -> None:
    """Print the errors of registered versions, as the paper's Table 3 does."""
    from coos_mlflow.training.row import KIND_TITLES, OWN

    title = "Balanced error (%)" + (", simulated cells" if data.simulated else "")
    table = error_table(title, data.dataset)
    several_layers = len({row.layer for row in rows}) > 1
    for row in rows:
        name = f"{row.model.name} v{row.model.version}" + ("" if row.trained else " (was there)")
        named = several_layers and row.kind != OWN
        kind = KIND_TITLES[row.kind] + (f", {row.layer}" if named else "")
        errors = [figure(row.errors[split]) for split in data.dataset.split_keys]
        table.add_row(name, kind, *errors, f"{row.cv_error:.1f}")
    Console().print(table)


def show_scores(scored: Scored) -> None:
    """Print the verdict on a plate, the shares of the classes, and where the results are."""
    console = Console(soft_wrap=True)
    drift = scored.drift
    style = VERDICT_STYLES[drift["verdict"]]
    console.print(f"[{style}]{drift['verdict']}[/]  {escape(drift['reason'])}")
    error = first_error(drift)
    words = ", ".join(filter(None, (error["words"], error["assumptions"])))
    trust = headline(drift)["trust"]
    console.print(f"[bold]{escape(trust)}[/]")
    more = " ".join(filter(None, (error["reason"], error["off"])))
    title = f"{error['how_words']} balanced error"
    if drift.get("audit"):
        title = f"balanced error {error['how_words']}"
    console.print(f"[bold]{title}:[/] {words}. {escape(more)}")
    if drift["controls"]:
        told = " ".join(said for said in controls.sentences(drift) if said not in trust)
        console.print(f"[bold]controls:[/] {escape(told)}")
    for note in (*doubts(drift), *wording.notes(drift)):
        console.print(escape(note))
    judged = drift["n_cells"]
    shares = Table(title=f"{judged:,} cells by predicted class", title_justify="left")
    shares.add_column("class")
    shares.add_column("cells", justify="right")
    shares.add_column("share", justify="right")
    for name, cells in scored.class_counts.items():
        shares.add_row(name, f"{cells:,}", f"{100 * cells / judged:.1f} %")
    console.print(shares)
    notes = [f"the {what}" for what in ("plate", "model") if scored.simulated[what]]
    if notes:
        console.print(f"[bold yellow]simulated:[/] {' and '.join(notes)}")
    console.print(f"{_pace(scored)}, {scorer_line(scored)}")
    for path in scored.files:
        console.print(escape(str(path)))


def show_audit(drift: dict[str, Any]) -> None:
    """Print what labelled cells measure, as a table of figures with their intervals."""
    section = labelled_section(drift)
    assert section is not None
    console = Console(soft_wrap=True)
    error = first_error(drift)
    table = Table(title=f"Balanced error and recalls, {error['how_words']}", title_justify="left")
    table.add_column("")
    table.add_column(f"with its {section['level']} % interval")
    for row in (*section["overall"], *section["recalls"]):
        table.add_row(Text(row["title"]), Text(row["words"]))
    console.print(table)
    console.print(escape(" ".join(section["sentences"])))
    console.print(f"[bold]{escape(headline(drift)['trust'])}[/]")


def _pace(scored: Scored) -> str:
    seconds = scored.timings.seconds
    if not seconds:
        return "scored before, nothing to do"
    return f"{seconds:.1f} s, {scored.n_cells / seconds:,.0f} cells/s"


def show_timings(timings: Timings, n_cells: int) -> None:
    """Print the time of each phase of a scoring, and of the parallel stages on the cells.

    Parameters
    ----------
    timings : Timings
    n_cells : int
        Cells of the plate.
    """
    table = Table(title=f"Where {timings.seconds:.1f} s went", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("seconds", "share", "us/cell"):
        table.add_column(heading, justify="right")
    for title, seconds in timings.phases.items():
        table.add_row(title, *_spent(seconds, timings.seconds, n_cells))
    for title, seconds in timings.stages.items():
        table.add_row(f"  {title}", *_spent(seconds, timings.seconds, n_cells))
    Console().print(table)
    Console(soft_wrap=True).print(
        "Indented stages work side by side: the one with the most seconds decides, and the others "
        "wait for it."
    )


def _spent(seconds: float, total: float, n_cells: int) -> tuple[str, str, str]:
    share = 100 * seconds / total if total else 0.0
    return f"{seconds:.2f}", f"{share:.0f} %", f"{1e6 * seconds / n_cells:,.0f}"


def scorer_line(scored: Scored) -> str:
    """Return the model and run of a scoring in one line."""
    run = f"MLflow run {scored.run_id}" if scored.run_id else "no MLflow run yet"
    return f"model {scored.model}, {run}"


def show_history(history: pd.DataFrame, asked: str) -> None:
    """Print the plates that a model has scored, the newest last.

    Parameters
    ----------
    history : DataFrame
        From `coos_mlflow.registry.scoring_runs.read_history`.
    asked : str
        The model's name in the title, as typed by the user.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"Plates scored with {asked}\n", style="bold")
    table.add_column("scored (UTC)", min_width=len("2026-01-01"))
    table.add_column("plate", overflow="fold", min_width=10)
    table.add_column("cells", justify="right", no_wrap=True)
    table.add_column("v", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for view in VIEWS:
        table.add_column(view, justify="right", no_wrap=True)
    table.add_column("error (%)", justify="right", min_width=len("(10.0–20.0)"))
    further = [
        (title, keys)
        for title, keys in (("controls (%)", CONTROL_ERRORS), ("measured (%)", MEASURED_ERRORS))
        if history[keys[0]].notna().any()
    ]
    for title, _ in further:
        table.add_column(title, justify="right", min_width=len("(10.0–20.0)"))
    simulated = history[["simulated_plate", "simulated_model"]].to_numpy().any()
    if simulated:
        table.add_column("", no_wrap=True)
    for _, row in history.iterrows():
        cells = _history_cells(row, [keys for _, keys in further])
        table.add_row(*(cells if simulated else cells[:-1]))
    console = Console(highlight=False)
    console.print(table)
    distances = ", ".join(VIEWS)
    console.print(f"{distances}: distance, 1 is an ordinary plate, ! beyond what is usual")
    console.print("error: estimated balanced error and its range, - where there is none")
    if (history[ESTIMATES[1]].notna() & history[ESTIMATES[2]].isna()).any():
        console.print("≥: the true error may be far higher")
    if history[CONTROL_ERRORS[0]].notna().any():
        console.print("controls: balanced error measured in wells of known class, with its range")
    if history[MEASURED_ERRORS[0]].notna().any():
        console.print("measured: balanced error measured on labelled cells, with its range")
    if simulated:
        marks = "simulated: P the plate, M what the model was trained on"
        console.print(Text(marks, style="bold yellow"))


def _history_cells(row: pd.Series, further: list[tuple[str, ...]]) -> list[Text]:
    """Return a row of the history as text, with `further` errors; a missing figure is a dash."""
    distances = [(row[f"distance_{view}"], row[f"usual_{view}"]) for view in VIEWS]
    marks = [mark for mark, key in (("P", "simulated_plate"), ("M", "simulated_model")) if row[key]]
    return [
        Text(f"{row['date']:%Y-%m-%d %H:%M}"),
        Text(shown(row["plate"])),
        Text(f"{row['n_cells']:,.0f}"),
        Text(row["version"]),
        Text(row["verdict"], style=VERDICT_STYLES.get(row["verdict"], "")),
        *(Text(f"{figure(distance)}{'!' * (distance > usual)}") for distance, usual in distances),
        *(Text(_with_range(*(row[key] for key in keys))) for keys in (ESTIMATES, *further)),
        Text("".join(marks), style="bold yellow"),
    ]


def _with_range(error: float, low: float, high: float) -> str:
    if math.isnan(error):
        return "-"
    return f"≥ {low:.1f}" if math.isnan(high) else f"{error:.1f} ({low:.1f}–{high:.1f})"


def error_table(title: str, dataset: Dataset) -> Table:
    """Return an empty table: model, remark, error on each split, cross-validation error."""
    table = Table(title=title, title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("", min_width=len("End-to-End"))
    for heading in ("Train", *(dataset.title(split) for split in dataset.references), "CV"):
        least = min(max(map(len, heading.split())), _MAX_HEADING)
        most = max(_NUMBER_WIDTH, least)
        table.add_column(heading, justify="right", overflow="fold", min_width=least, max_width=most)
    return table


def figure(value: float) -> str:
    """Return a figure with one decimal, a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.1f}"
