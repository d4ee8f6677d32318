"""The command `coos train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coos_mlflow._utils.plugins import plugin_names
from coos_mlflow.cli.options import (
    Dask,
    Data,
    DropBad,
    Preset,
    Scale,
    Seed,
    TrackingUri,
    Workers,
    check_dask,
    use_store,
)
from coos_mlflow.errors import DataError

if TYPE_CHECKING:
    from coos_mlflow.plates.splits import TrainingData


REPRESENTATIONS = plugin_names("coos_mlflow.representations")


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(train)


def train(
    representation: Annotated[
        str, typer.Argument(help=f"{', '.join(REPRESENTATIONS)}.")
    ] = "texture",
    data: Data = "auto",
    preset: Preset = "auto",
    classifiers: Annotated[
        str,
        typer.Option(
            help="paper, all, or some of own,knn,lr,rf,lr_even,plates,rf_even; own: the network's "
            "own answers, plates: fitted to each plate by its cells."
        ),
    ] = "paper",
    layers: Annotated[str, typer.Option(help="all, or some of the representation's.")] = "all",
    scale: Scale = 0.1,
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
            help="A parameter of the representation, such as width=0.5; auto: the preset's. "
            "Several by repeating it, or as 'a=1; b=2'.",
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
        from coos_mlflow.cli import tables
        from coos_mlflow.training import api

    protocol = {
        "neighbours": neighbours,
        "inverse_penalty": inverse_penalty,
        "search": search,
        "search_samples": _auto_int("search-samples", search_samples),
        "cv_folds": _auto_int("cv-folds", cv_folds),
        "folds": folds,
    }
    used: list[TrainingData] = []

    def on_data(chosen: TrainingData, name: str) -> None:
        tables.say_data(chosen, name)
        used.append(chosen)

    with _spread_over(dask, workers):
        rows = api.train(
            representation,
            data,
            classifiers=_some_of(classifiers, but="paper"),
            layers=_some_of(layers, but="all"),
            preset=preset,
            settings=_settings(settings or []),
            protocol={key: value for key, value in protocol.items() if value is not None},
            scale=scale,
            seed=seed,
            drop_bad=drop_bad,
            resume=resume,
            on_data=on_data,
        )
    tables.show_rows(rows, used[0])


@contextmanager
def _spread_over(dask: str | None, workers: int | None) -> Iterator[None]:
    if dask is None:
        yield
        return
    from coos_mlflow._utils.cluster import connect, spreading_over

    with connect(dask, workers) as client, spreading_over(client):
        yield


def _some_of(text: str, but: str) -> list[str] | None:
    """Return the names in a comma-separated list, None for the word `but`."""
    return None if text == but else [name.strip() for name in text.split(",")]


def _auto_int(name: str, text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise DataError(f"--{name} {text!r} found, expected a whole number or auto.")
    return int(text)


def _value(text: str) -> Any:
    """Parse a number as Python does, since YAML reads 1e-3 as text; parse the rest as YAML."""
    import yaml

    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return yaml.safe_load(text)


def _settings(pairs: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for pair in filter(str.strip, ";".join(pairs).split(";")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise DataError(f"--set {pair!r} found, expected name=value.")
        try:
            found[key.strip()] = _value(value)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a month 13
            raise DataError(f"--set {pair!r} found, expected a value such as [1, 2].") from error
    return {key: value for key, value in found.items() if value != "auto"}
