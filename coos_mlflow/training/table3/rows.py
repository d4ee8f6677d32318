"""The rows of the paper's Table 3, their published errors, and their errors trained here.

Open it to change which rows there are; `coos_mlflow.training.table3.files` writes the table.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from statistics import fmean, stdev
from typing import Any

import numpy as np

from coos_mlflow.classifiers.protocol import AUTO, choose_preset
from coos_mlflow.errors import DataError, MissingWeightsError, RegistryError
from coos_mlflow.metrics import Evaluation
from coos_mlflow.plates.dataset import COOS7_NAME, TRAINING, Dataset, coos7
from coos_mlflow.plates.splits import TrainingData
from coos_mlflow.representations import Representation, create, names
from coos_mlflow.training.row import KIND_TITLES, OWN, paper_kinds_of
from coos_mlflow.training.train import Row, train_rows

Triple = tuple[str, str, str]
"""Features, layer and model as the published table spells them, such as ("PCI", "Conv3", "RF")."""

Source = tuple[str, tuple[tuple[str, Any], ...]]
"""Key of a representation, and its settings that differ from the preset's."""


def headings(dataset: Dataset) -> dict[str, str]:
    """Return the headings of the splits, which the paper's Table 3 calls Train, then by title."""
    titles = {split: dataset.title(split) for split in dataset.references}
    return {TRAINING: "Train"} | titles


@cache
def published() -> dict[Triple, dict[str, float]]:
    """Return the paper's balanced errors in % by row and split (Lu et al. 2019, Table 3)."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return {
        (row["features"], row["layer"], row["model"]): {
            split: float(row[heading.lower()]) for split, heading in headings(coos7()).items()
        }
        for row in csv.DictReader(text.splitlines())
    }


@dataclass(frozen=True)
class Line:
    """A row of the table before it is filled.

    Parameters
    ----------
    key : str
        Name that `--rows` matches, such as ``"pci-conv3-lr"``.
    representation : str
        Key of the representation.
    layer : str
        Key of the layer; empty for a network that is its own classifier.
    kind : str
        A key of `coos_mlflow.training.row.KIND_TITLES`.
    features, layer_title : str
        Titles of representation and layer in the table.
    settings : tuple of (str, object)
        Settings of the representation that differ from the preset's.
    """

    key: str
    representation: str
    layer: str
    kind: str
    features: str
    layer_title: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def source(self) -> Source:
        """What its features come from."""
        return self.representation, self.settings

    @property
    def model(self) -> str:
        """Title of the classifier in the table."""
        return KIND_TITLES[self.kind]

    @property
    def triple(self) -> Triple:
        """The row's first three columns."""
        return self.features, self.layer_title, self.model

    @property
    def title(self) -> str:
        """The row's first three columns, joined."""
        return " ".join(part for part in self.triple if part)

    @property
    def published(self) -> dict[str, float]:
        """The paper's errors by split; empty for a row that is not in the paper."""
        return published().get(self.triple, {})


def all_lines(preset: str = AUTO) -> list[Line]:
    """Return all rows: those of the paper in its order, then those of other representations."""
    order = list(dict.fromkeys(features for features, _, _ in published()))
    representations = [create(key, preset) for key in names()]
    representations.sort(key=lambda r: order.index(r.title) if r.title in order else len(order))
    return [line for representation in representations for line in lines_of(representation)]


def lines_of(
    representation: Representation,
    kinds: Sequence[str] | None = None,
    settings: tuple[tuple[str, Any], ...] = (),
) -> list[Line]:
    """Return the rows of one representation: its own classifier, if any, then layer by layer.

    Parameters
    ----------
    representation : Representation
    kinds : sequence of str, optional
        Some of `coos_mlflow.training.row.kinds_of`; those of the paper by default.
    settings : tuple of (str, object)
        `Line.settings`.
    """
    kinds = paper_kinds_of(representation) if kinds is None else kinds
    own = [("", kind) for kind in kinds if kind == OWN]
    fitted = [(layer, kind) for layer in representation.layers for kind in kinds if kind != OWN]
    return [_line(representation, layer, kind, settings) for layer, kind in own + fitted]


def _line(
    representation: Representation, layer: str, kind: str, settings: tuple[tuple[str, Any], ...]
) -> Line:
    named = bool(layer) and (layer in representation.layer_titles or len(representation.layers) > 1)
    key = representation.name if settings else representation.key
    parts = [key, layer if named else "", "" if kind == OWN else kind]
    return Line(
        key="-".join(part for part in parts if part),
        representation=representation.key,
        layer=layer,
        kind=kind,
        features=representation.title,
        layer_title=representation.layer_titles.get(layer, layer) if named else "",
        settings=settings,
    )


def choose_lines(lines: Sequence[Line], patterns: str) -> list[Line]:
    """Return the rows whose keys match any of the shell patterns, in the table's order.

    Parameters
    ----------
    lines : sequence of Line
    patterns : str
        Separated by commas, such as ``"texture-*,pci-conv?-lr"``.

    Raises
    ------
    DataError
        If a pattern matches no row.
    """
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    for pattern in wanted:
        if not any(fnmatchcase(line.key, pattern) for line in lines):
            keys = ", ".join(line.key for line in lines)
            raise DataError(f"--rows {pattern!r} matches no row; there are {keys}.")
    return [line for line in lines if any(fnmatchcase(line.key, p) for p in wanted)]


@dataclass(frozen=True)
class Entry:
    """A row of the table, filled by one registered version for each seed.

    Parameters
    ----------
    line : Line
    rows : tuple of Row
        One for each seed; empty if the weights are missing.
    missing : str
        In a few words, which weights are missing and how to get them.
    """

    line: Line
    rows: tuple[Row, ...] = ()
    missing: str = ""

    def errors(self, split: str) -> list[float]:
        """Return the balanced error in % with each seed."""
        return [row.errors[split] for row in self.rows]

    def error(self, split: str) -> float:
        """Return the balanced error in %, the mean over seeds."""
        return fmean(self.errors(split))

    def deviation(self, split: str) -> float | None:
        """Return the standard deviation over seeds (denominator n - 1); None with one seed."""
        return stdev(self.errors(split)) if len(self.rows) > 1 else None

    def interval(self, split: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the error in %; None if there is none, or several seeds."""
        low, high = self.evaluation(split).interval
        return None if np.isnan(low) else (low, high)

    def evaluation(self, split: str) -> Evaluation:
        """Return the evaluation of a split, with the predictions of all seeds taken together."""
        evaluations = [row.evaluations[split] for row in self.rows]
        if len(evaluations) == 1:
            return evaluations[0]
        confusion = np.sum([evaluation.confusion for evaluation in evaluations], axis=0)
        return Evaluation(confusion, (float("nan"), float("nan")))


@dataclass(frozen=True)
class Table:
    """The requested rows, and the data and settings that they were measured with.

    Parameters
    ----------
    entries : tuple of Entry
    dataset : Dataset
    name, digest : str
        Name of the data in the caption, and SHA-256 of all files.
    simulated : bool
    preset : str
        "paper" or "quick".
    seeds : tuple of int
    settings : dict
        Fields of `coos_mlflow.classifiers.protocol.Protocol` that differ from the preset.
    """

    entries: tuple[Entry, ...]
    dataset: Dataset
    name: str
    digest: str
    simulated: bool
    preset: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    @property
    def filled(self) -> list[Entry]:
        """The rows with results."""
        return [entry for entry in self.entries if entry.rows]

    @property
    def comparable(self) -> bool:
        """Whether the paper's numbers were measured on the same cells."""
        return self.name == COOS7_NAME and not self.simulated

    @property
    def splits(self) -> tuple[str, ...]:
        """Keys of the splits, Training first."""
        return self.dataset.split_keys

    @property
    def has_published(self) -> bool:
        """Whether the paper's numbers are shown beside these: the same classes and splits."""
        return self.dataset.name == COOS7_NAME


def _silent(words: str) -> None:
    """Print nothing."""


def fill(
    lines: Sequence[Line],
    data: TrainingData,
    *,
    preset: str = AUTO,
    seeds: Sequence[int] = (0,),
    settings: dict[str, Any] | None = None,
    say: Callable[[str], None] = _silent,
) -> Table:
    """Train the rows that are not registered yet, and return all rows.

    Every row is registered as soon as it is trained, so an interrupted table continues from there.

    Parameters
    ----------
    lines : sequence of Line
    data : TrainingData
    preset : str
        "auto", "paper" or "quick".
    seeds : sequence of int
        Of networks, searches and classifiers. Each row is trained once for every seed.
    settings : dict, optional
        Fields of `coos_mlflow.classifiers.protocol.Protocol` that differ from the preset.
    say : callable
        Called with a line about the progress.
    """
    preset, settings = choose_preset(preset, data), settings or {}
    missing = _missing({line.source for line in lines}, preset, data.dataset, say)
    filled: dict[str, list[Row]] = {line.key: [] for line in lines}
    for source in dict.fromkeys(line.source for line in lines):
        wanted = [line for line in lines if line.source == source]
        for seed in seeds if source not in missing else ():
            representation = _made(source, preset, data.dataset, seed=seed)
            _train(wanted, representation, data, preset, settings | {"seed": seed}, filled, say)
    entries = [Entry(line, tuple(filled[line.key]), missing.get(line.source, "")) for line in lines]
    return Table(
        entries=tuple(entries),
        dataset=data.dataset,
        name=data.name,
        digest=data.digest,
        simulated=data.simulated,
        preset=preset,
        seeds=tuple(seeds),
        settings=settings,
    )


@dataclass(frozen=True)
class Lack:
    """Why a representation has no results: as a sentence, and in a few words for its rows."""

    sentence: str
    words: str


def lack_of(representation: Representation, *, varied: bool = False) -> Lack | None:
    """Return why a representation cannot be in the table, or None if it can.

    A substitute, such as a network with random weights, has another name and therefore no row,
    unless the row is that of a representation with settings of its own (`varied`).
    """
    name, key = representation.name, representation.key
    try:
        representation.require()
    except (MissingWeightsError, RegistryError) as error:
        unread = isinstance(error, RegistryError) or isinstance(error.__cause__, RegistryError)
        return Lack(str(error), short_lack(key, damaged=unread))
    if name != key and not varied:
        return Lack(f"{name} is not the paper's {representation.title}.", f"{name} has no row")
    return None


def short_lack(key: str, *, damaged: bool = False) -> str:
    """Return the words in a row whose representation has no weights, or damaged ones."""
    if damaged:
        return f"weights damaged: coos weights {key} --force"
    return f"weights missing: coos weights {key}"


def _made(source: Source, preset: str, dataset: Dataset, **more: Any) -> Representation:
    key, settings = source
    return create(key, preset, dataset, **dict(settings), **more)


def _missing(
    sources: set[Source], preset: str, dataset: Dataset, say: Callable[[str], None]
) -> dict[Source, str]:
    """Return the words for rows that cannot be trained by representation; explain each once.

    They lack weights, or cannot take the crop of the data set.
    """
    missing = {}
    for source in sorted(sources):
        try:
            lack = lack_of(_made(source, preset, dataset), varied=bool(source[1]))
        except DataError as error:
            lack = Lack(str(error), f"not for crops of {dataset.crop} pixels")
        if lack:
            say(lack.sentence)
            missing[source] = lack.words
    return missing


def _train(
    lines: list[Line],
    representation: Representation,
    data: TrainingData,
    preset: str,
    overrides: dict[str, Any],
    filled: dict[str, list[Row]],
    say: Callable[[str], None],
) -> None:
    """Train one representation with one seed, and add each row to `filled` when it is ready."""
    remaining = iter(lines)
    numbers = {key: number for number, key in enumerate(filled, 1)}

    def on_row(row: Row) -> None:
        key = next(remaining).key
        filled[key].append(row)
        first = [*data.dataset.references, TRAINING][0]
        error = f"{row.errors[first]:.1f} % on {data.dataset.title(first)}"
        seed = f", seed {overrides['seed']}" if overrides["seed"] else ""
        say(f"row {numbers[key]} of {len(filled)}: {key}{seed}, {error}")

    say(f"{representation.title} ...")
    train_rows(
        representation,
        data,
        rows=[(line.layer or representation.layers[0], line.kind) for line in lines],
        preset=preset,
        overrides=overrides,
        on_row=on_row,
    )
