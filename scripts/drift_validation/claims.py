"""What the drift report claims, and how far plates with known labels bear it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from coos_mlflow.drift import CANNOT_TELL, IN_RANGE, SHIFTED
from coos_mlflow.drift.error_estimate import AT_LEAST
from drift_validation import kinds, plates, registries
from drift_validation.figures import Figure, mean, share
from drift_validation.looks import Look
from drift_validation.sizes import Size

RISES = (-np.inf, 2.0, 5.0, 10.0, 20.0, 40.0, np.inf)
"""Limits, in points, between rows of rising true error."""

HARMFUL = 10.0
"""Points by which a harmful cause raises the true error."""

FEWEST = 20
"""Answered looks that a row of rising error needs for its coverage to count."""

Reaches = Callable[[Figure], bool]


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    Parameters
    ----------
    words, bar : str
        As the table has them.
    figure : Figure or None
        None where no plate tells.
    reached : bool or None
        None without a bar.
    is_share : bool
        Or points.
    """

    words: str
    bar: str
    figure: Figure | None
    reached: bool | None
    is_share: bool = True


def frame(looks: Iterable[Look], size: Size) -> pd.DataFrame:
    """Return looks as a table, with what follows from them.

    Added columns: ``rise``, by how much the true error rose over that of the base plate under the
    same model (0 where a plate is its own base, NaN where there is none); ``answered``;
    ``covered``; ``off``; ``is_cause``, whether the plate has a single cause; ``cause``, its name.
    """
    table = pd.DataFrame([asdict(look) for look in looks])
    truths = table.set_index(["model", "plate"])["truth"]
    bases = pd.MultiIndex.from_frame(table[["model", "base"]])
    table["rise"] = table["truth"].to_numpy() - truths.reindex(bases).to_numpy()
    table["answered"] = table["answer"] != CANNOT_TELL
    table[["estimate", "low", "high"]] = table[["estimate", "low", "high"]].astype(float)
    above = table["low"] <= table["truth"]
    table["covered"] = above & ((table["truth"] <= table["high"]) | (table["answer"] == AT_LEAST))
    table["off"] = (table["estimate"] - table["truth"]).abs()
    causes = {kind.name: kind.cause.name for kind in kinds.cause_kinds(size) if kind.cause}
    table["cause"] = table["kind"].map(causes)
    table["is_cause"] = table["cause"].notna()
    return table


def claims(looks: pd.DataFrame) -> dict[str, Claim]:
    """Return the rows of the table by key, in its order."""
    forests = looks["group"] == registries.FOREST
    return dict(
        [
            *_false_alarms(looks[~forests]),
            *_found(looks[~forests]),
            *_unseen(looks[~forests]),
            *_parts(looks[~forests]),
            *_harmful(looks, forests),
            *_covered(looks[~forests & looks["is_cause"]]),
            *_lost(looks[~forests]),
            *_files(looks[~forests]),
            *_mixtures(looks[~forests]),
            *_errors(looks[~forests]),
            *_of_forests(looks[forests]),
        ]
    )


Row = tuple[str, Claim]


def _row(
    key: str,
    words: str,
    looks: pd.DataFrame,
    hits: pd.Series,
    bar: str = "",
    reaches: Reaches | None = None,
) -> Row:
    figure = share(looks, hits)
    reached = None if figure is None or reaches is None else bool(reaches(figure))
    return key, Claim(words, bar, figure, reached)


def _verdicts(
    key: str,
    words: str,
    looks: pd.DataFrame,
    kind: str | Sequence[str],
    bar: str = "",
    reaches: Reaches | None = None,
) -> Row:
    """Return the share of the plates of a kind that are called shifted."""
    own = looks[looks["kind"].isin([kind] if isinstance(kind, str) else kind)]
    return _row(key, words, own, own["verdict"] == SHIFTED, bar, reaches)


def _at_most(limit: float) -> Reaches:
    return lambda figure: figure.pooled <= limit


def _at_least(limit: float) -> Reaches:
    return lambda figure: figure.pooled >= limit


def _few_alarms(figure: Figure) -> bool:
    return figure.pooled <= 0.06 and figure.most <= 0.10


def _in_nine_of_ten(figure: Figure) -> bool:
    return float(np.mean(np.array(figure.by_model) >= 0.85)) >= 0.9


def _groups(looks: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for group in (registries.THIN, registries.FULL, registries.ASKED):
        own = looks[looks["group"] == group]
        if len(own):
            yield group, own


def _false_alarms(looks: pd.DataFrame) -> Iterator[Row]:
    bar = "<= 6 % pooled, <= 10 % in each"
    for n, words in kinds.PLAIN.items():
        for group, own in _groups(looks):
            yield _verdicts(
                f"false_alarms_{n}_{group}",
                f"unshifted called shifted, {words}, {group}",
                *(own, kinds.PLAIN[n], bar, _few_alarms),
            )
    yield _verdicts("false_alarms_edge", "  all wells at the plate's edge", looks, kinds.EDGE)


def _found(looks: pd.DataFrame) -> Iterator[Row]:
    for n, words in ((2, "two classes"), (1, "one class"), (7, "seven classes")):
        for group, own in _groups(looks):
            yield _verdicts(
                f"test3_found_{n}_{group}",
                f"like Test3 called shifted, {words}, {group}",
                *(own, kinds.TEST3[n], ">= 85 % in 9 of 10", _in_nine_of_ten),
            )
    yield _promise(looks)
    yield _verdicts(
        "test4_found",
        "like Test4 called shifted",
        *(looks, list(kinds.TEST4.values()), ">= 95 %", _at_least(0.95)),
    )


def _promise(looks: pd.DataFrame) -> Row:
    """Return how far the share of plates like Test3 that a report promises to find is off."""
    own = looks[looks["kind"].isin([kinds.TEST3[n] for n in (1, 2)]) & looks["promised"].notna()]
    found = (own["verdict"] == SHIFTED).groupby(own["model"]).transform("mean")
    words = "  share that the report says it would find, off by, percentage points"
    off = mean(own, 100 * (own["promised"].astype(float) - found).abs())
    return "test3_promise_off", Claim(words, "", off, None, is_share=False)


def _unseen(looks: pd.DataFrame) -> Iterator[Row]:
    named = {protein: kinds.unseen_kind(protein) for protein in kinds.STRANGERS}
    own = looks[looks["kind"].isin(named.values())]
    noticed = (own["verdict"] != IN_RANGE) | ~own["answered"]
    words = "one of seven never seen: shifted or cannot tell"
    yield _row("unseen_class_noticed", words, own, noticed, ">= 70 %", _at_least(0.7))
    for protein, kind in named.items():
        rows = own["kind"] == kind
        yield _row(f"unseen, {protein}", f"  {protein}", own[rows], noticed[rows])
    yield _row("unseen_found", "  called shifted", own, own["verdict"] == SHIFTED)
    odd = own["odd_of_concerned"] > 0.5
    yield _row("unseen_wells_named", "  most of its wells listed as odd", own, odd)
    plain = looks[looks["kind"] == kinds.PLAIN[7]]
    listed = plain["odd_of_others"] > 0
    yield _row("odd_wells_unshifted", "  unshifted plates with a well listed as odd", plain, listed)


def _parts(looks: pd.DataFrame) -> Iterator[Row]:
    yield _verdicts(
        "one_of_seven_found",
        "one of seven classes like Test3, called shifted",
        *(looks, kinds.ONE_SHIFTED, ">= 60 %", _at_least(0.6)),
    )
    words = "half of the wells like Test3, called shifted"
    yield _verdicts("half_of_wells_found", words, looks, kinds.HALF_SHIFTED)


def _harmful(looks: pd.DataFrame, forests: pd.Series) -> Iterator[Row]:
    harmful = looks["is_cause"] & (looks["rise"] > HARMFUL)
    words = f"one cause raised the error > {HARMFUL:g} points, yet in range"
    for key, more, rows, bar, limit in (
        ("in_range_error_up_10", "", harmful, "<= 4 %", 0.04),
        ("in_range_error_up_10_lr", ", without forests", harmful & ~forests, "<= 4 %", 0.04),
        ("in_range_error_up_10_rf", ", forests", harmful & forests, "<= 4 %", 0.04),
        *(
            (f"{cause}_in_range", f", {words}", harmful & (looks["cause"] == name), "<= 10 %", 0.1)
            for cause, words, name in (
                ("defocus", "defocus", "defocus_um"),
                ("dead_cells", "dead cells", "dead_cells"),
            )
        ),
    ):
        own = looks[rows]
        yield _row(key, words + more, own, own["verdict"] == IN_RANGE, bar, _at_most(limit))


def rows_of_rise(looks: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield rows of rising true error: their words and looks."""
    for low, high in pairwise(RISES):
        words = f"{low:g} to {high:g}"
        if low == -np.inf:
            words = f"< {high:g}"
        elif high == np.inf:
            words = f"> {low:g}"
        yield words, looks[(looks["rise"] >= low) & (looks["rise"] < high)]


def _covered(looks: pd.DataFrame) -> Iterator[Row]:
    for words, own in rows_of_rise(looks):
        answered = own[own["answered"]]
        yield _row(
            f"coverage, {words}",
            f"answers that hold where one cause raised the error by {words}",
            *(answered, answered["covered"], ">= 90 %", _at_least(0.9)),
        )


def _lost(looks: pd.DataFrame) -> Iterator[Row]:
    for key, kinds_of_plate, words in (
        ("lost_class_told", list(plates.LOST.values()), "one class lost: told in words"),
        ("misread_well_told", list(plates.MISREAD.values()), "one well misread: told in words"),
    ):
        own = looks[looks["kind"].isin(kinds_of_plate)]
        yield _row(key, words, own, own["is_told"], "all", _at_least(1.0))
        misses = (own["answer"] != CANNOT_TELL) & ~own["covered"]
        missed = key.replace("told", "missed")
        yield _row(missed, "  an answer that does not hold", own, misses, "none", _at_most(0.0))


def _files(looks: pd.DataFrame) -> Iterator[Row]:
    for n, kind in plates.FILES.items():
        yield _verdicts(
            f"files_{n}_shifted",
            f"files of {n} ordinary plates called shifted",
            *(looks, kind, "<= 6 %", _at_most(0.06)),
        )


def _mixtures(looks: pd.DataFrame) -> Iterator[Row]:
    for kind in (*plates.MIXED.values(), plates.MOSTLY_ONE):
        own = looks[(looks["kind"] == kind) & looks["answered"]]
        yield _row(f"coverage, {kind}", f"answers that hold: {kind}", own, own["covered"])


def _errors(looks: pd.DataFrame) -> Iterator[Row]:
    usual = looks[looks["kind"].isin([*kinds.PLAIN.values(), *kinds.TEST3.values()])]
    words = "unshifted and like Test3: given an estimate"
    yield _row("estimate_answered", words, usual, usual["answered"])
    answered = usual[usual["answered"]]
    words, bar = "  the answer holds", ">= 90 %"
    yield _row("coverage_usual", words, answered, answered["covered"], bar, _at_least(0.9))
    off = mean(answered, answered["off"])
    reached = None if off is None else off.pooled <= 1.5
    words = "  estimated error off by, points, mean"
    yield "estimate_mae", Claim(words, "<= 1.5", off, reached, is_share=False)
    test4 = looks[looks["kind"].isin(kinds.TEST4.values())]
    words = "like Test4: given an estimate"
    yield _row("test4_answered", words, test4, test4["answered"])


def _of_forests(looks: pd.DataFrame) -> Iterator[Row]:
    alarms, found = [kinds.PLAIN[1], kinds.PLAIN[2]], [kinds.TEST3[1], kinds.TEST3[2]]
    yield _verdicts("false_alarms_rf", "forests: unshifted called shifted", looks, alarms)
    yield _verdicts("test3_found_rf", "forests: like Test3 called shifted", looks, found)


def summary(rows: dict[str, Claim]) -> dict[str, Any]:
    """Return the claims JSON-ready: the named figures as fractions, and every row by key.

    ``false_alarm_pooled`` and ``false_alarm_worst`` are the largest over layouts and scales, of
    all looks and of the worst model; ``coverage_least`` is the least over the rows of rising error
    with at least `FEWEST` answers; ``estimate_mae`` is in points.
    """
    figures = {key: claim.figure for key, claim in rows.items() if claim.figure is not None}
    alarms = [figures[key] for key in figures if key.startswith("false_alarms_1_")]
    alarms += [figures[key] for key in figures if key.startswith("false_alarms_2_")]
    alarms += [figures[key] for key in figures if key.startswith("false_alarms_7_")]
    test3 = [figures[key] for key in figures if key.startswith("test3_found_2_")]
    names = {words for words, _ in rows_of_rise(pd.DataFrame({"rise": []}))}
    covered = [
        figures[f"coverage, {name}"].pooled
        for name in names
        if f"coverage, {name}" in figures and figures[f"coverage, {name}"].count >= FEWEST
    ]
    pooled = (
        *("unseen_class_noticed", "in_range_error_up_10", "one_of_seven_found", "files_20_shifted"),
        *("files_50_shifted", "defocus_in_range", "dead_cells_in_range", "test4_found"),
        *("lost_class_told", "misread_well_told", "estimate_mae"),
    )
    return {
        "false_alarm_pooled": max(figure.pooled for figure in alarms),
        "false_alarm_worst": max(figure.most for figure in alarms),
        "test3_found_tenth": test3[0].percentile(10),
        "coverage_least": min(covered, default=None),
        **{key: figures[key].pooled if key in figures else None for key in pooled},
        "rows": {key: figure.as_dict() for key, figure in figures.items()},
    }
