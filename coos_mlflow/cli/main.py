"""Run the commands `coos` and `coos-score`, and turn errors into exit codes.

Open this to add a command, or to change the setup that all commands share.
"""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coos_mlflow import __version__
from coos_mlflow._utils.signals import raise_on_signals
from coos_mlflow._utils.streams import lost_output, make_safe
from coos_mlflow.cli import (
    adapt,
    audit,
    crop,
    dataset,
    fields,
    generalise,
    history,
    label,
    models,
    plates,
    score,
    simulate,
    sync,
    table3,
    train,
)
from coos_mlflow.errors import CoosError, PrintError, exit_codes, whole_python, without_passwords

EXIT_CODES = f"\b\n{textwrap.fill(f'Exit codes: {exit_codes()}.', 92)}"

GROUPS = {
    "Data": (
        *("download", "simulate", "simulate-plate", "contact-sheet"),
        *("fields", "crop", "pack", "check", "unpack"),
        "dataset",
    ),
    "Training": ("weights", "train", "table3", "generalise"),
    "Models": ("models",),
    "Scoring": ("score", "label", "audit", "adapt", "drift"),
    "Tracking store": ("sync",),
}
"""The commands by topic, in the order in which they are used."""


class _Grouped(TyperGroup):
    """List commands by `GROUPS`, each with the first sentence of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in GROUPS.items():
            with formatter.section(title):
                helps = {name: self.commands[name].get_short_help_str(500) for name in names}
                formatter.write_dl([(name.ljust(width), text) for name, text in helps.items()])


app = typer.Typer(
    cls=_Grouped,
    help="Train, register and inspect classifiers of single-cell images, born around COOS-7.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
plates.register(app)
dataset.register(app)
fields.register(app)
crop.register(app)
simulate.register(app)
train.register(app)
table3.register(app)
generalise.register(app)
history.register(app)
adapt.register(app)
score.register(app)
label.register(app)
audit.register(app)
sync.register(app)
models.register(app)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"coos-mlflow {__version__}")
        raise typer.Exit


def coos() -> None:
    """Run `coos`."""
    _run(app)


def coos_score() -> None:
    """Run `coos-score`."""
    scorer = typer.Typer(
        pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False
    )
    scorer.command(epilog=EXIT_CODES)(score.score)
    _run(scorer)


def _run(command: typer.Typer) -> None:
    """Run a typer app; print each CoosError as one sentence, and exit with its code."""
    make_safe()
    _quieten()
    raise_on_signals()
    code: str | int | None = None
    try:
        with whole_python():
            command()
    except CoosError as error:
        code = _say(error)
    except SystemExit as ended:
        code = ended.code
    if lost := lost_output():
        lost_code = _say(
            PrintError(
                f"stdout could not be written ({lost}), so some of what this command prints is "
                "missing; its work went on, send stdout elsewhere to see all."
            )
        )
        code = code or lost_code
    sys.exit(code)


def _say(error: CoosError) -> int:
    """Print the sentences of an error, and return its exit code."""
    for sentence in str(error).splitlines():
        typer.echo(f"error: {without_passwords(sentence)}", err=True)
    return error.exit_code


def _quieten() -> None:
    """Silence warnings, logs and progress bars of libraries."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Behind a firewall MLflow's telemetry delays the end of every command by two seconds.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    for chatty in ("alembic", "distributed"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # Commands report their errors in one sentence. A level would not do, since MLflow resets it.
    for reported in ("mlflow.store.db.utils", "tifffile"):
        logging.getLogger(reported).disabled = True
