"""The command that says what images of a plate there are: fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from coos_mlflow.cli.crop import Pattern, PixelSize, Source
from coos_mlflow.errors import DataError

MAX_MAPS = 4
"""Number of plates of which a map is shown."""

_MAX_LINE = 2000
_LABEL = 12
"""Width of the first column."""


def register(app: typer.Typer) -> None:
    """Add the command to `coos`."""
    app.command()(fields)


def fields(
    plate: Annotated[str, typer.Argument(help="Folder, file or address of the images of a plate.")],
    source: Source = None,
    pattern: Pattern = None,
    pixel_size: PixelSize = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check header and length of every image, name the damaged."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """Say what a plate of images holds: fields, channels, pixels.

    It also shows missing images, what each channel probably is, and a map of the plate. With
    --check the exit code is 2 where an image is missing, cannot be opened or is cut short. Pixels
    of a TIFF are not unpacked, so that damage within them shows when they are read.

    Example: coos fields /data/plate42

    Example: coos fields images --pattern '{well}_s{field}_w{channel}.tif' --pixel-size 0.65
    """
    from coos_mlflow.fields.sources import open_images
    from coos_mlflow.fields.survey import survey
    from coos_mlflow.plates.columns import shown

    images = open_images(plate, source, pattern=pattern, pixel_size_um=pixel_size)
    facts = survey(images)
    if check:
        facts["unreadable"] = _checked(images)
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for line in _lines(facts):
            typer.echo(shown(line, _MAX_LINE))
    if bad := facts.get("unreadable"):
        raise DataError(
            f"{plate}: {len(bad):,} of {facts['n_images']:,} images or files cannot be read; copy "
            "the plate again, or crop it with --keep-going."
        )


def _checked(images: Any) -> list[str]:
    from coos_mlflow._utils.progress import progress
    from coos_mlflow.fields.survey import unreadable

    total = sum(len(one.planes) + len(one.labels) for one in images.fields)
    with progress("Checking", total=total, unit="images") as advance:
        return unreadable(images.fields, advance)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    from coos_mlflow.fields.sources.base import sources

    title = sources()[facts["source"]].title
    made_up = ", simulated" if facts["simulated"] else ""
    yield _row("Source", f"{title}: {facts['source']}{made_up}")
    counts = [_count(len(facts["plates"]), "plate")]
    counts += [_count(facts[f"n_{noun}s"], noun) for noun in ("well", "field", "image")]
    yield _row("Found", ", ".join(counts))
    if len(facts["times"]) > 1:
        yield _row("Times", f"{len(facts['times'])}: {facts['times'][0]} to {facts['times'][-1]}")
    yield from _channel_lines(facts["channels"])
    yield _row("Pixel size", _pixel_size(facts["pixel_size_um"]))
    yield _row("Image", _image(facts["image"]))
    yield _row("Missing", _missing(facts))
    for name, number in facts["incomplete"].items():
        yield _row("", f"{_count(number, 'field')} without an image of {name}")
    if facts["labels"]:
        yield _row("Labels", ", ".join(facts["labels"]))
    if "unreadable" in facts:
        yield _row("Unreadable", f"{len(facts['unreadable']):,}" if facts["unreadable"] else "none")
        yield from (f"  {sentence}" for sentence in facts["unreadable"])
    for sentence in (*facts["choice"], *facts["notes"]):
        yield f"Note: {sentence}"
    for plate in facts["plates"][:MAX_MAPS]:
        yield ""
        yield from _map(plate)
    if len(facts["plates"]) > MAX_MAPS:
        yield f"{len(facts['plates']) - MAX_MAPS} more plates; --json lists all."


def _row(label: str, text: str) -> str:
    return f"{label:{_LABEL}}{text}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _channel_lines(channels: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(one["name"]) for one in channels)
    for place, one in enumerate(channels):
        light = [f"{one[key]:.0f}" if one[key] else "?" for key in ("excitation_nm", "emission_nm")]
        light_text = "" if light == ["?", "?"] else f"{light[0]} to {light[1]} nm"
        depths = _count(one["depths"], "depth")
        text = f"{one['number']:>2}  {one['name']:{width}}  {light_text:14}  {depths:9}  "
        yield _row("" if place else "Channels", text + one["probably"])


def _pixel_size(size: float | None) -> str:
    return "not given; --pixel-size gives it" if size is None else f"{size:.4g} micrometres"


def _image(image: dict[str, Any] | None) -> str:
    if image is None:
        return "none can be read"
    return f"{image['height']} x {image['width']} pixels, {image['dtype']}"


def _missing(facts: dict[str, Any]) -> str:
    if not facts["n_missing"]:
        return "none"
    return f"{facts['n_missing']:,} of {facts['n_images']:,} images, such as {facts['missing'][0]}"


def _map(plate: dict[str, Any]) -> Iterator[str]:
    """Yield the rows of a plate with the number of fields of each well."""
    from coos_mlflow.plates.wells import Well, parse_well, row_letters

    wells = plate["fields_of_wells"]
    yield f"Fields of each well of plate {plate['plate']}"
    numbers = [*wells.values(), plate["columns"]]
    width = 1 + max(len(str(number)) for number in numbers)
    yield "  " + "".join(f"{column:{width}}" for column in range(1, plate["columns"] + 1))
    for row in range(1, plate["rows"] + 1):
        names = [Well(row, column).name for column in range(1, plate["columns"] + 1)]
        cells = "".join(f"{wells.get(name, '.'):>{width}}" for name in names)
        yield f"{row_letters(row):2}{cells}"
    for name, number in wells.items():
        if parse_well(name) is None:
            yield f"{name}: {number}"
