"""Print the output of `coos models`: champions, versions, comparisons, and changes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coos_mlflow import __version__
from coos_mlflow.cli.tables import figure
from coos_mlflow.plates.dataset import TRAINING
from coos_mlflow.registry.ranking import best_of
from coos_mlflow.registry.versions import BEST
from coos_mlflow.reports.plate.wording import without_controls

if TYPE_CHECKING:
    from coos_mlflow.registry.comparison import Comparison
    from coos_mlflow.registry.inspect import Details, Version
    from coos_mlflow.registry.manage import Move, Pruned

_LOUD = "bold yellow"


def show_champions(champions: list[Version], headless: list[str], store: str) -> None:
    """Print the champion of every model, those of each data set under a heading of their own.

    Parameters
    ----------
    champions : list of Version
    headless : list of str
        Models that have versions but no champion.
    store : str
        The store in which they are registered.
    """
    if not champions and not headless:
        _say(f"No models in {store}; `coos train texture` makes some.")
        return
    _say(store)
    best = {
        model.uri: f"{prefix}{BEST}"
        for prefix, model in best_of(v.model for v in champions).items()
    }
    groups = _by_dataset(champions)
    for dataset, members in groups.items():
        title = f"Champions on {dataset}" if len(groups) > 1 else "Champions"
        Console(soft_wrap=True).print(_champion_table(members, title, best))
    for version in champions:
        if name := best.get(version.model.uri):
            _say(f"* {name} is {version.model.name}: the lowest error on left-out Training plates.")
    for name in headless:
        _say(f"{name} has no champion; `coos models promote {name} --automatic` chooses one.")


def _by_dataset(versions: list[Version]) -> dict[str, list[Version]]:
    """Return versions by the name of their data set, sorted."""
    groups: dict[str, list[Version]] = {}
    for version in versions:
        groups.setdefault(version.model.tags.get("dataset", "-"), []).append(version)
    return dict(sorted(groups.items()))


def _champion_table(champions: list[Version], title: str, best: dict[str, str]) -> Table:
    splits = _splits_of(champions)
    table = Table(title_justify="left")
    table.title = Text(f"{without_controls(title)}; balanced error (%)")
    table.add_column("model", overflow="fold")
    table.add_column("", min_width=len("SIMULATED"))
    for heading in (*map(_heading, splits), Text("CV")):
        table.add_column(heading, justify="right", no_wrap=True)
    for version in champions:
        mark = " (pinned)" if "champion" in version.pinned else ""
        mark += " *" if version.model.uri in best else ""
        called = _plain(f"{version.model.name} v{version.number}{mark}")
        cv_error = figure(version.tag_number("cv_error"))
        table.add_row(called, _data(version), *_error_cells(version, splits), cv_error)
    return table


def _splits_of(versions: Iterable[Version]) -> list[str]:
    """Return the keys of all splits that any of the versions was tested on, in their order."""
    return list(dict.fromkeys(split for version in versions for split in version.errors))


def _heading(split: str) -> Text:
    """Return the heading of a split's column: ``Train`` for Training, ``Near`` for near."""
    return _plain("Train" if split == TRAINING else split.capitalize())


def _error_cells(version: Version, splits: list[str]) -> list[str]:
    """Return the errors on splits as text, a dash for an unknown one."""
    return [figure(version.errors.get(split, math.nan)) for split in splits]


def show_versions(versions: list[Version], title: str) -> None:
    """Print versions of one model, oldest first, in 80 columns or more."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"{without_controls(title)}; balanced error (%)\n", style="bold")
    table.add_column("v", justify="right", no_wrap=True)
    table.add_column("aliases", overflow="fold", min_width=len("(pinned)"))
    table.add_column("layer", overflow="fold", min_width=len("haralick"))
    table.add_column("data", overflow="fold", min_width=len("SIMULATED"))
    splits = [split for split in _splits_of(versions) if split != TRAINING]
    for heading in (Text("left out"), *map(_heading, splits)):
        width = max(len("100.0"), *map(len, heading.plain.split()))
        table.add_column(heading, justify="right", overflow="fold", width=min(width, 8))
    table.add_column("package", overflow="fold", min_width=len("package"))
    table.add_column("made (UTC)", min_width=len("2026-01-01"))
    for version in versions:
        table.add_row(
            str(version.number),
            _plain("\n".join(_aliases(version)) or "-"),
            _plain("\n".join(_layer(version))),
            _data(version),
            figure(version.left_out_error),
            *_error_cells(version, splits),
            _package(version, "\n"),
            f"{version.made:%Y-%m-%d %H:%M}",
        )
    Console(highlight=False).print(table)
    _say("left out: on Training, each plate predicted by a fit without it")
    if any(version.adapted for version in versions):
        _say("from v1: adapted from version 1 to the plate of its alias, and good for that alone")


def show_details(details: Details) -> None:
    """Print everything about one version."""
    console, version = Console(highlight=False), details.version
    console.print(Text(without_controls(str(version.model)), style="bold"))
    if version.model.simulated:
        console.print(
            Text("SIMULATED cells: no figure says anything about real microscopes.", style=_LOUD)
        )
    console.print(_listed(_facts(details)))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text("\nBalanced error", style="bold")
    for heading in ("", "%", "95 % interval", "% of wells"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for split, (error, low, high) in details.intervals.items():
        wells = figure(details.well_errors.get(split, math.nan))
        table.add_row(_plain(split.capitalize()), figure(error), _interval(low, high), wells)
    left_out_wells = figure(version.left_out_well_error)
    table.add_row(_left_out_words(version), figure(version.left_out_error), "-", left_out_wells)
    table.add_row("cross-validation", figure(version.tag_number("cv_error")), "-", "-")
    console.print(table)
    if details.params:
        console.print(Text("\nParameters", style="bold"))
        console.print(_listed(details.params.items()))
    for sentence in details.missing:
        _warn(sentence)


def _left_out_words(version: Version) -> str:
    """Return what the left-out error of a version leaves out, in two words."""
    by = version.model.tags.get("left_out_by", "plates")
    return "left-out cells" if by in ("cells", "folds") else "left-out plates"


def _facts(details: Details) -> Iterable[tuple[str, object]]:
    """Yield the facts about a version besides its errors and parameters."""
    version, files = details.version, details.files
    model, tags = version.model, version.model.tags
    yield "aliases", ", ".join(_aliases(version, " ")) or "none"
    if made_for := version.adapted:
        yield "adapted from", f"version {made_for.parent} by {made_for.labels} labelled cells"
        yield "adapted to", f"{made_for.plate} alone, by {made_for.remedy}"
        yield "plate SHA-256", made_for.sha256
        yield "error before", _interval_words(made_for.before)
        yield "error after", _interval_words(made_for.after)
    fitting = f", fits the installed {__version__}" if version.fits else ""
    made_by = f"coos-mlflow {_package(version, ', ')}{fitting}"
    yield "made", f"{version.made:%Y-%m-%d %H:%M} UTC by {made_by}"
    cells = version.tag_number("training_cells")
    count = "cells" if math.isnan(cells) else f"{cells:,.0f} cells"
    yield "data", f"{_data(version)}, {count} of {version.classes} classes"
    yield "data SHA-256", tags.get("dataset_digest")
    for tag in ("representation", "layer", "classifier", "preset", "fingerprint"):
        yield tag, tags.get(tag)
    yield "run", model.run_id
    yield "model", model.model_id
    yield "bundle SHA-256", tags.get("bundle_sha256")
    size = files.model_size_bytes if files else None
    yield "size", f"{size / 1e6:,.1f} MB" if size else None
    yield "requires", ", ".join(details.requirements) or None


def show_comparison(comparison: Comparison) -> None:
    """Print the errors of versions, their differences, and the settings that differ."""
    console = Console(highlight=False)
    for letter, member in comparison.members.items():
        kind = " (SIMULATED)" if member.version.model.simulated else ""
        console.print(_plain(f"{letter}  {member.version.model}{kind}"))
    for sentence in comparison.warnings:
        _warn(sentence)
    console.print(_error_rows(comparison))
    console.print(
        "95 % intervals, by drawing wells; that of a difference draws the same wells for both, "
        "so it can tell models apart whose own intervals overlap. Where it holds 0, they may be "
        "equal.\n"
    )
    if not comparison.differing:
        _say("Their settings do not differ.")
        return
    table = Table(box=SIMPLE, pad_edge=False, title_justify="left")
    table.title = Text("Settings that differ", style="bold")
    for heading in ("", *comparison.members):
        table.add_column(heading, overflow="fold")
    for name, values in comparison.differing.items():
        table.add_row(_plain(name), *map(_plain, values))
    console.print(table)


def _error_rows(comparison: Comparison) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, title_justify="left")
    table.title = Text("Balanced error (%)", style="bold")
    for heading in ("", "model", "error", "95 % interval", "minus A", "its 95 % interval"):
        right = heading not in ("", "model")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    intervals = {letter: member.intervals for letter, member in comparison.members.items()}
    unknown = (math.nan,) * 3
    for split in dict.fromkeys(split for known in intervals.values() for split in known):
        first, *_ = intervals["A"].get(split, unknown)
        for letter, known in intervals.items():
            error, low, high = known.get(split, unknown)
            row = [letter, figure(error), _interval(low, high)]
            if letter == "A":
                table.add_row(_plain(split.capitalize()), *row)
                continue
            change = "-" if math.isnan(error - first) else f"{error - first:+.1f}"
            table.add_row("", *row, change, _change(comparison.difference(split, letter)))
        table.add_section()
    return table


def show_move(move: Move, *, dry_run: bool) -> None:
    """Print the versions that an alias pointed to before and after."""
    before = f"version {move.before}" if move.before else "no version"
    if move.before == move.after:
        _say(f"{move.name}@{move.alias} points to {before}, as before.")
    else:
        verb = "would point" if dry_run else "now points"
        _say(f"{move.name}@{move.alias} pointed to {before}, {verb} to version {move.after}.")
    for doubt in move.overruled:
        _warn(f"{doubt}.")
    if move.pinned:
        verb = "would be" if dry_run else "is"
        _say(
            f"It {verb} pinned: training leaves it there until `coos models promote {move.name} "
            f"--automatic --alias {move.alias}`."
        )


def show_pruned(pruned: Pruned) -> None:
    """Print whether a version was deleted, with notes on things that were kept."""
    verb = "deleted" if pruned.deleted else "kept"
    _say(f"{pruned.version.model.name} version {pruned.version.number}: {verb}")
    for note in pruned.notes:
        _warn(note)


def show_freeing(store: str) -> None:
    """Print the command that frees the disk after versions were deleted."""
    local = f" --backend-store-uri {store}" if store.startswith("sqlite:") else ""
    _say(f"Their files stay on the disk until `mlflow gc{local}` runs where the database is.")


def _data(version: Version) -> Text:
    """Return the name of a version's training data, with simulated data highlighted."""
    name = without_controls(version.model.tags.get("dataset", "-"))
    if not version.model.simulated:
        return Text(name)
    return Text("SIMULATED" if name.lower() == "simulated" else f"{name} SIMULATED", style=_LOUD)


def _layer(version: Version) -> list[str]:
    """Return the layer of a version, and the version from which it was adapted to a plate."""
    layer = version.model.tags.get("layer", "-")
    return [layer] if version.adapted is None else [layer, f"from v{version.adapted.parent}"]


def _aliases(version: Version, gap: str = "\n") -> list[str]:
    return [f"{a}{gap}(pinned)" if a in version.pinned else a for a in version.aliases]


def _package(version: Version, gap: str) -> Text:
    """Return the package version that made a version, and whether it fits the installed one."""
    made_by = without_controls(version.package_version) or "unknown"
    if version.fits:
        return Text(made_by)
    return Text(f"{made_by}{gap}unfit for{gap[-1]}{__version__}", style=_LOUD)


def _interval_words(figures: tuple[float, float, float]) -> str:
    """Return an error on left-out labelled cells with its 95 % interval."""
    value, low, high = figures
    return f"{figure(value)} % on left-out labelled cells, 95 % interval {_interval(low, high)}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.1f}–{high:.1f}"


def _change(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else "{:+.1f} to {:+.1f}".format(*interval)


def _listed(facts: Iterable[tuple[str, object]]) -> Table:
    """Return names and values as lines; a value that is None is left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold", min_width=len("bundle SHA-256"), max_width=32)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            grid.add_row(_plain(name), _plain(value))
    return grid


def _plain(value: object) -> Text:
    """Return a name or value of the registry as text: no markup, no control characters."""
    lines = str(value).split("\n")
    return Text("\n".join(map(without_controls, lines)))


def _say(text: str) -> None:
    """Print a sentence without line breaks, so that the commands in it can be copied."""
    Console(highlight=False, soft_wrap=True).print(_plain(text))


def _warn(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(
        Text(f"warning: {without_controls(text)}", style=_LOUD)
    )
