"""The paper's Table 3: which rows it has, what each reaches here, what was published for it."""

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
from coos_mlflow.plates.dataset import TrainingData
from coos_mlflow.plates.schema import SPLIT_TITLES
from coos_mlflow.representations import Representation, create, names
from coos_mlflow.training.row import KIND_TITLES, OWN, kinds_of
from coos_mlflow.training.train import Row, train

COOS7 = "COOS-7"

HEADINGS = SPLIT_TITLES | {"training": "Train"}
"""What the paper's Table 3 calls the splits."""

Triple = tuple[str, str, str]
"""Features, layer and model as the published table spells them, such as ("PCI", "Conv3", "RF")."""


@cache
def published() -> dict[Triple, dict[str, float]]:
    """Return the paper's balanced errors in % by row and split (Lu et al. 2019, Table 3)."""
    text = files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    return {
        (row["features"], row["layer"], row["model"]): {
            split: float(row[heading.lower()]) for split, heading in HEADINGS.items()
        }
        for row in csv.DictReader(text.splitlines())
    }


@dataclass(frozen=True)
class Line:
    """A row of the table before it is filled.

    Parameters
    ----------
    key : str
        What `--rows` selects by, such as ``"pci-conv3-lr"``.
    representation : str
        Its key.
    layer : str
        Its key; empty for a network that classifies itself.
    kind : str
        A key of `coos_mlflow.training.row.KIND_TITLES`.
    features, layer_title : str
        What the table calls representation and layer.
    """

    key: str
    representation: str
    layer: str
    kind: str
    features: str
    layer_title: str

    @property
    def model(self) -> str:
        """What the table calls the classifier."""
        return KIND_TITLES[self.kind]

    @property
    def triple(self) -> Triple:
        """The row's first three columns."""
        return self.features, self.layer_title, self.model

    @property
    def title(self) -> str:
        """The row's first three columns in one."""
        return " ".join(part for part in self.triple if part)

    @property
    def published(self) -> dict[str, float]:
        """The paper's errors by split; empty for what the paper does not have."""
        return published().get(self.triple, {})


def all_lines(preset: str = AUTO) -> list[Line]:
    """Return every row there is: the paper's in its order, then other representations'."""
    order = list(dict.fromkeys(features for features, _, _ in published()))
    found = [create(key, preset) for key in names()]
    found.sort(key=lambda r: order.index(r.title) if r.title in order else len(order))
    return [line for representation in found for line in lines_of(representation)]


def lines_of(representation: Representation) -> list[Line]:
    """Return the rows of one representation: by itself where it answers, then layer by layer."""
    kinds = kinds_of(representation)
    own = [("", kind) for kind in kinds if kind == OWN]
    fitted = [(layer, kind) for layer in representation.layers for kind in kinds if kind != OWN]
    return [_line(representation, layer, kind) for layer, kind in own + fitted]


def _line(representation: Representation, layer: str, kind: str) -> Line:
    named = bool(layer) and (layer in representation.layer_titles or len(representation.layers) > 1)
    parts = [representation.key, layer if named else "", "" if kind == OWN else kind]
    return Line(
        key="-".join(part for part in parts if part),
        representation=representation.key,
        layer=layer,
        kind=kind,
        features=representation.title,
        layer_title=representation.layer_titles.get(layer, layer) if named else "",
    )


def choose_lines(lines: Sequence[Line], patterns: str) -> list[Line]:
    """Return the rows whose keys match any of some shell patterns, in the table's order.

    Parameters
    ----------
    lines : sequence of Line
    patterns : str
        Such as ``"texture-*,pci-conv?-lr"``.

    Raises
    ------
    DataError
        For a pattern that matches nothing.
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
        One a seed; empty where something is missing.
    missing : str
        What is missing and how to get it, in a few words.
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
        """Return the standard deviation over seeds (n - 1 in its denominator); None with one."""
        return stdev(self.errors(split)) if len(self.rows) > 1 else None

    def interval(self, split: str) -> tuple[float, float] | None:
        """Return the 95 % interval of the error in %; None with several seeds, or where none is."""
        low, high = self.evaluation(split).interval
        return None if np.isnan(low) else (low, high)

    def evaluation(self, split: str) -> Evaluation:
        """Return the evaluation; with several seeds that of all their predictions together."""
        found = [row.evaluations[split] for row in self.rows]
        if len(found) == 1:
            return found[0]
        confusion = np.sum([evaluation.confusion for evaluation in found], axis=0)
        return Evaluation(confusion, (float("nan"), float("nan")))


@dataclass(frozen=True)
class Table:
    """All rows that were asked for, and what they were measured on.

    Parameters
    ----------
    entries : tuple of Entry
    dataset, digest : str
        Name and SHA-256 of the five splits.
    simulated : bool
    preset : str
        "paper" or "quick".
    seeds : tuple of int
    settings : dict
        Fields of `coos_mlflow.classifiers.protocol.Protocol` that differ from the preset.
    """

    entries: tuple[Entry, ...]
    dataset: str
    digest: str
    simulated: bool
    preset: str
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    @property
    def filled(self) -> list[Entry]:
        """The rows that lack nothing."""
        return [entry for entry in self.entries if entry.rows]

    @property
    def comparable(self) -> bool:
        """Whether the paper's numbers were measured on the same cells."""
        return self.dataset == COOS7 and not self.simulated


def _silent(words: str) -> None:
    """Say nothing."""


def fill(
    lines: Sequence[Line],
    data: TrainingData,
    *,
    preset: str = AUTO,
    seeds: Sequence[int] = (0,),
    settings: dict[str, Any] | None = None,
    say: Callable[[str], None] = _silent,
) -> Table:
    """Train what is missing of some rows and return all of them.

    Every row is registered as soon as it is made, so that an interrupted table goes on where it
    was.

    Parameters
    ----------
    lines : sequence of Line
    data : TrainingData
    preset : str
        "auto", "paper" or "quick".
    seeds : sequence of int
        Of networks, searches and classifiers; each row is made once with every one.
    settings : dict, optional
        Fields of `coos_mlflow.classifiers.protocol.Protocol` that differ from the preset.
    say : callable
        Told in a few words how far the table is.
    """
    preset, settings = choose_preset(preset, data), settings or {}
    missing = _missing_weights({line.representation for line in lines}, preset, say)
    filled: dict[str, list[Row]] = {line.key: [] for line in lines}
    for key in dict.fromkeys(line.representation for line in lines):
        wanted = [line for line in lines if line.representation == key]
        for seed in seeds if key not in missing else ():
            made = create(key, preset, seed=seed)
            _train(wanted, made, data, preset, settings | {"seed": seed}, filled, say)
    entries = [
        Entry(line, tuple(filled[line.key]), missing.get(line.representation, "")) for line in lines
    ]
    return Table(
        entries=tuple(entries),
        dataset=data.name,
        digest=data.digest,
        simulated=data.simulated,
        preset=preset,
        seeds=tuple(seeds),
        settings=settings,
    )


@dataclass(frozen=True)
class Lack:
    """What keeps a representation out of the table: a sentence, and words for its rows."""

    sentence: str
    words: str


def lack_of(representation: Representation) -> Lack | None:
    """Return what keeps a representation out of the table, or None.

    Stand-ins, such as a network with random weights, have no row: they go by another name.
    """
    name, key = representation.name, representation.key
    try:
        representation.require()
    except (MissingWeightsError, RegistryError) as error:
        unread = isinstance(error, RegistryError) or isinstance(error.__cause__, RegistryError)
        return Lack(str(error), short_lack(key, damaged=unread))
    if name != key:
        return Lack(f"{name} is not the paper's {representation.title}.", f"{name} has no row")
    return None


def short_lack(key: str, *, damaged: bool = False) -> str:
    """Return what a row says whose representation lacks its weights, or cannot read them."""
    if damaged:
        return f"weights damaged: coos weights {key} --force"
    return f"weights missing: coos weights {key}"


def _missing_weights(keys: set[str], preset: str, say: Callable[[str], None]) -> dict[str, str]:
    """Return what the rows say of the representations that cannot be had; explain each once."""
    found = {}
    for key in sorted(keys):
        lack = lack_of(create(key, preset))
        if lack:
            say(lack.sentence)
            found[key] = lack.words
    return found


def _train(
    lines: list[Line],
    representation: Representation,
    data: TrainingData,
    preset: str,
    overrides: dict[str, Any],
    filled: dict[str, list[Row]],
    say: Callable[[str], None],
) -> None:
    """Add to `filled` the rows of one representation with one seed, each as soon as it is made."""
    coming = iter(lines)
    numbers = {key: number for number, key in enumerate(filled, 1)}

    def on_row(row: Row) -> None:
        key = next(coming).key
        filled[key].append(row)
        reached = f"{row.errors['test1']:.1f} % on {SPLIT_TITLES['test1']}"
        seed = f", seed {overrides['seed']}" if overrides["seed"] else ""
        say(f"row {numbers[key]} of {len(filled)}: {key}{seed}, {reached}")

    say(f"{representation.title} ...")
    train(
        representation,
        data,
        rows=[(line.layer or representation.layers[0], line.kind) for line in lines],
        preset=preset,
        overrides=overrides,
        on_row=on_row,
    )
