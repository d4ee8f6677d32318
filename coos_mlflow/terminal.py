"""What the commands print: tables of errors, models and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coos_mlflow.data.cells import SPLIT_TITLES, SPLITS

if TYPE_CHECKING:
    from coos_mlflow.baselines import Row
    from coos_mlflow.scoring import Scored
    from coos_mlflow.tracking.registry import ModelRef
    from coos_mlflow.training_data import TrainingData

VERDICT_STYLES = {"in range": "bold green", "shifted": "bold red", "cannot tell": "bold yellow"}


def say_data(data: TrainingData, preset: str) -> None:
    """Say which data a run trains on, loudly where it is simulated."""
    console = Console()
    if data.simulated:
        console.print(f"[bold yellow]SIMULATED cells[/] from {escape(str(data.folder))}")
        console.print("No figure of this run says anything about COOS-7 or a real microscope.")
    else:
        console.print(f"{data.name} from {escape(str(data.folder))}")
    console.print(f"preset: {preset}")


def show_rows(rows: list[Row], data: TrainingData) -> None:
    """Print the errors of registered versions, as the paper's Table 3 does."""
    from coos_mlflow.fitted_rows import KIND_TITLES, OWN

    title = "Balanced error (%)" + (", simulated cells" if data.simulated else "")
    table = _error_table(title)
    several_layers = len({row.layer for row in rows}) > 1
    for row in rows:
        name = f"{row.model.name} v{row.model.version}" + ("" if row.trained else " (was there)")
        named = several_layers and row.kind != OWN
        kind = KIND_TITLES[row.kind] + (f", {row.layer}" if named else "")
        table.add_row(name, kind, *_errors(row.errors), f"{row.cv_error:.1f}")
    Console().print(table)


def show_models(champions: list[ModelRef], store: str) -> None:
    """Print the champion of every model."""
    console = Console(soft_wrap=True)
    if not champions:
        console.print(f"No models in {escape(store)}; `coos train texture` makes some.")
        return
    console.print(f"{escape(store)}")
    table = _error_table("Champions; balanced error (%)")
    for model in champions:
        tags = model.tags
        errors = {split: float(tags[f"error_{split}"]) for split in SPLITS}
        name = f"{model.name} v{model.version}"
        table.add_row(name, tags["dataset"], *_errors(errors), f"{float(tags['cv_error']):.1f}")
    console.print(table)


def show_scores(scored: Scored) -> None:
    """Print the verdict on a plate, the shares of the classes, and where the results are."""
    console = Console(soft_wrap=True)
    drift = scored.drift
    style = VERDICT_STYLES[drift["verdict"]]
    console.print(f"[{style}]{drift['verdict']}[/]  {escape(drift['reason'])}")
    shares = Table(title=f"{scored.n_cells:,} cells by predicted class", title_justify="left")
    shares.add_column("class")
    shares.add_column("cells", justify="right")
    shares.add_column("share", justify="right")
    for name, cells in scored.class_counts.items():
        shares.add_row(name, f"{cells:,}", f"{100 * cells / scored.n_cells:.1f} %")
    console.print(shares)
    notes = [f"the {what}" for what, is_so in scored.simulated.items() if is_so]
    if notes:
        console.print(f"[bold yellow]simulated:[/] {' and '.join(notes)}")
    rate = scored.n_cells / scored.seconds
    console.print(f"{scored.seconds:.1f} s, {rate:,.0f} cells/s, {scorer_line(scored)}")
    for path in scored.files:
        console.print(escape(str(path)))


def scorer_line(scored: Scored) -> str:
    """Return the model and run of a scoring in one line."""
    return f"model {scored.model}, MLflow run {scored.run_id}"


def _error_table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("", min_width=len("End-to-End"))
    for heading in ("Train", *(SPLIT_TITLES[split] for split in SPLITS[1:]), "CV"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _errors(errors: dict[str, Any]) -> list[str]:
    return [f"{errors[split]:.1f}" for split in SPLITS]
