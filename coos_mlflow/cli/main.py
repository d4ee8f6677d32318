"""The commands `coos` and `coos-score`: parse, call, print, exit code."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coos_mlflow import __version__
from coos_mlflow._utils.signals import end_by_exceptions
from coos_mlflow._utils.streams import lost_output, make_safe
from coos_mlflow.cli import history, models, plates, score, sync, table3
from coos_mlflow.cli.options import Dask, DropBad, TrackingUri, Workers, check_dask, use_store
from coos_mlflow.errors import CoosError, DataError, PrintError, whole_python, without_passwords

EXIT_CODES = """\b
Exit codes: 0 done; 1 something unforeseen; 2 bad input or usage; 3 model or tracking store not
found, not fitting or away (coos sync); 4 a plate met --fail-on; 5 some plates could not be
scored (--keep-going); 6 download failed; 7 results cannot be written; 8 a network's training
cannot go on; 9 Dask cluster not there or lost; 10 done, but stdout could not be written; 129, 130,
143 ended by SIGHUP, Ctrl-C, SIGTERM."""

GROUPS = {
    "Data": ("download", "simulate", "simulate-plate", "contact-sheet", "pack", "check", "unpack"),
    "Training": ("weights", "train", "table3"),
    "Models": ("models",),
    "Scoring": ("score", "drift"),
    "Tracking store": ("sync",),
}
"""The commands in the order in which one works."""

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all that is random.")]
Force = Annotated[bool, typer.Option("--force", help="Replace results that are there already.")]


class _Grouped(TyperGroup):
    """Lists commands by `GROUPS`, each with the first sentence of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in GROUPS.items():
            with formatter.section(title):
                helps = {name: self.commands[name].get_short_help_str(500) for name in names}
                formatter.write_dl([(name.ljust(width), text) for name, text in helps.items()])


app = typer.Typer(
    cls=_Grouped,
    help="Train, register and inspect classifiers of single-cell images around COOS-7.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
plates.register(app)
table3.register(app)
history.register(app)
score.register(app)
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


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the five files.")],
    scale: Annotated[float, typer.Option(help="1 is the size of COOS-7: 132,209 cells.")] = 0.1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate a data set like COOS-7, in five splits.

    The splits drift further and further away from Training.

    Example: coos simulate data --scale 0.05 --seed 1
    """
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.simulate import planned_cells, simulate_dataset

    planned = planned_cells(scale)
    with progress("Simulating", total=sum(planned.values()), unit="cells") as advance:
        paths = simulate_dataset(out, scale, seed, on_progress=advance, force=force)
    for split, path in paths.items():
        typer.echo(f"{path}  {planned[split]:,} simulated cells")


@app.command()
def simulate_plate(
    out: Annotated[Path, typer.Argument(help="The plate file to write.")],
    like: Annotated[
        str,
        typer.Option(
            help="training, test1, test2, test3 or test4: the split whose plates it is like; "
            "test1 is drawn like training, since Test1 is cells of the Training wells."
        ),
    ] = "training",
    classes: Annotated[
        str, typer.Option(help="Labels on the plate, such as 0,4.")
    ] = "0,1,2,3,4,5,6",
    wells: Annotated[int, typer.Option(min=1, help="Wells for each class.")] = 8,
    cells: Annotated[int, typer.Option(min=1, help="Cells in a well.")] = 100,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate one new plate, like the plates of a split.

    Example: coos simulate-plate new_plate.h5 --like test3 --classes 0,4 --seed 7
    """
    from coos_mlflow import simulate as simulator
    from coos_mlflow._utils.progress import progress

    labels = _labels(classes)
    total = len(labels) * wells * cells
    with progress("Simulating", total=total, unit="cells") as advance:
        simulator.simulate_plate(
            out,
            like=like,
            classes=labels,
            seed=seed,
            wells_per_class=wells,
            cells_per_well=cells,
            on_progress=advance,
            force=force,
        )
    typer.echo(f"{out}  {total:,} simulated cells like {like}")


@app.command()
def contact_sheet(
    folder: Annotated[Path, typer.Argument(help="A data set: a folder with the five files.")],
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    composite: Annotated[
        bool, typer.Option("--composite", help="Protein in green over the nucleus in blue.")
    ] = False,
    force: Force = False,
) -> None:
    """Draw example cells of a data set, classes by splits.

    Example: coos contact-sheet data sheet.png
    """
    from coos_mlflow.simulate import contact_sheet as draw

    draw(folder, out, composite=composite, force=force)
    typer.echo(str(out))


@app.command()
def train(
    representation: Annotated[
        str, typer.Argument(help="texture, deeploc, pci or vgg16.")
    ] = "texture",
    data: Annotated[
        str,
        typer.Option(
            help="auto (COOS-7 where it is on disk, else simulated), simulated, a folder."
        ),
    ] = "auto",
    preset: Annotated[
        str, typer.Option(help="paper, quick, or auto (paper on real data, quick on simulated).")
    ] = "auto",
    classifiers: Annotated[
        str, typer.Option(help="all, or some of own,knn,lr,rf; own: the network's own answers.")
    ] = "all",
    layers: Annotated[str, typer.Option(help="all, or some of the representation's.")] = "all",
    scale: Annotated[float, typer.Option(help="Of simulated data; 1 is the size of COOS-7.")] = 0.1,
    seed: Seed = 0,
    neighbours: Annotated[int, typer.Option(help="k of kNN; the paper's 11.")] = 11,
    inverse_penalty: Annotated[float, typer.Option(help="C of the logistic regression.")] = 1.0,
    search: Annotated[
        str, typer.Option(help="Of the forest: random as in the paper, or halving.")
    ] = "random",
    search_samples: Annotated[
        str, typer.Option(help="Forests tried; auto: the preset's.")
    ] = "auto",
    cv_folds: Annotated[str, typer.Option(help="Folds on Training; auto: the preset's.")] = "auto",
    folds: Annotated[
        str, typer.Option(help="stratified as in the paper, or plate.")
    ] = "stratified",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A parameter of the representation, such as width=0.5; auto: the preset's.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="Go on with a network's training that was stopped, or begin it anew."),
    ] = True,
    drop_bad: DropBad = False,
    dask: Dask = None,
    workers: Workers = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Train, evaluate and register a representation's classifiers.

    Example: coos train texture --classifiers lr --scale 0.05

    Example: coos train deeploc --preset quick --set iterations=200

    With --dask, features are extracted and forests searched by the workers of a cluster; the data
    and COOS_CACHE must lie on storage that they share.
    """
    use_store(tracking_uri)
    check_dask(dask, workers)
    from coos_mlflow._utils.progress import progress

    with progress("Starting"):
        from coos_mlflow.classifiers.protocol import check_protocol, choose_preset
        from coos_mlflow.cli import tables
        from coos_mlflow.representations import create
        from coos_mlflow.training import train as baselines
        from coos_mlflow.training.data import choose

    asked = {
        "neighbours": neighbours,
        "inverse_penalty": inverse_penalty,
        "search": search,
        "search_samples": _auto_int("search-samples", search_samples),
        "cv_folds": _auto_int("cv-folds", cv_folds),
        "folds": folds,
        "seed": seed,
    }
    overrides = {key: value for key, value in asked.items() if value is not None}
    params = {"seed": seed} | _settings(settings or [])
    check_protocol(preset, overrides)
    asked_for = create(representation, **params)
    asked_for.require()
    wanted = baselines.rows_of(asked_for, _some_of(classifiers), _some_of(layers))
    chosen = choose(data, scale, seed, drop_bad=drop_bad)
    preset = choose_preset(preset, chosen)
    tables.say_data(chosen, preset)
    with _spread_over(dask, workers):
        rows = baselines.train(
            create(representation, preset, **params),
            chosen,
            rows=wanted,
            preset=preset,
            overrides=overrides,
            resume=resume,
        )
    tables.show_rows(rows, chosen)


def _run(command: typer.Typer) -> None:
    """Run a typer app; what is the input's fault becomes one sentence and an exit code."""
    make_safe()
    _quieten()
    end_by_exceptions()
    code: str | int | None = None
    try:
        with whole_python():
            command()
    except CoosError as error:
        code = _say(error)
    except SystemExit as ended:
        code = ended.code
    if lost := lost_output():
        told = _say(
            PrintError(
                f"stdout could not be written ({lost}), so some of what this command prints is "
                "missing; its work went on, send stdout elsewhere to see all."
            )
        )
        code = code or told
    sys.exit(code)


def _say(error: CoosError) -> int:
    """Print the sentences of an error, and return its exit code."""
    for sentence in str(error).splitlines():
        typer.echo(f"error: {without_passwords(sentence)}", err=True)
    return error.exit_code


def _quieten() -> None:
    """Keep what libraries say to their developers away from users."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Behind a firewall every command would wait two seconds at its end to tell of its use.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    for chatty in ("alembic", "distributed"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    # What it prints, SQL and all, is told in a sentence; MLflow would put back a mere level.
    logging.getLogger("mlflow.store.db.utils").disabled = True


@contextmanager
def _spread_over(dask: str | None, workers: int | None) -> Iterator[None]:
    if dask is None:
        yield
        return
    from coos_mlflow._utils.cluster import connect, spreading_over

    with connect(dask, workers) as client, spreading_over(client):
        yield


def _labels(text: str) -> list[int]:
    from coos_mlflow.plates.schema import CLASSES

    parts = [part.strip() for part in text.split(",")]
    known = {str(label) for label in range(len(CLASSES))}
    if not set(parts) <= known or len(set(parts)) < len(parts):
        raise DataError(f"--classes {text!r} found, expected different labels 0..6, such as 0,4.")
    return [int(part) for part in parts]


def _some_of(text: str) -> list[str] | None:
    """Return the names in a comma-separated list, None for all."""
    return None if text == "all" else [name.strip() for name in text.split(",")]


def _auto_int(name: str, text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"--{name} {text!r} found, expected a whole number or auto.")
    return int(text)


def _value(text: str) -> Any:
    """Read a number as Python does, since YAML takes 1e-3 for a word, and all else as YAML."""
    import yaml

    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return yaml.safe_load(text)


def _settings(pairs: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise DataError(f"--set {pair!r} found, expected name=value.")
        try:
            found[key.strip()] = _value(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a month 13
            raise DataError(f"--set {pair!r} found, expected a value such as [1, 2].") from error
    return {key: value for key, value in found.items() if value != "auto"}
