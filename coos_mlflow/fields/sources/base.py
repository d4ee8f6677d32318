"""The interface of a source, the choice of one for a folder, and what several sources share.

To add a format, add a file to this folder that declares ``SOURCE = Source(...)``. `coos fields`,
`coos crop` and `coos-score` then find it, and ``tests/fields/test_sources.py`` runs over it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element

from coos_mlflow._utils.plugins import load_plugins, plugin_names
from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import MissingPlane, Plane, PlateImages, TiffPlane
from coos_mlflow.fields.sources._gather import links_left_out
from coos_mlflow.plates.columns import shown

MAX_XML_BYTES = 2**30
"""Largest index that is read. An index of 384 wells, 10 fields and 6 channels has 50 MB."""


@dataclass(frozen=True)
class Source:
    """A format in which instruments or programs write fields.

    Parameters
    ----------
    title : str
        For ``--help`` and messages.
    recognises : callable
        ``recognises(location)`` takes a path or address as text and returns whether it looks like
        this format. It looks at names, not into images, and raises nothing.
    read : callable
        ``read(location)`` returns a `PlateImages`; with ``pattern=`` where `takes_pattern`. It
        reads indices and headers, no pixels. It raises a `DataError` that says what is wrong.
    fallback : bool
        Whether it is asked only where no other source recognises the location.
    takes_pattern : bool
        Whether it reads names of files by a pattern that the user can give.
    remote : bool
        Whether it reads addresses such as ``s3://bucket/plate.zarr`` too.
    """

    title: str
    recognises: Callable[[str], bool]
    read: Callable[..., PlateImages]
    fallback: bool = False
    takes_pattern: bool = False
    remote: bool = False


def source_keys() -> tuple[str, ...]:
    """Return the keys of all sources, the stems of their files, without importing them."""
    return plugin_names(__package__)


@cache
def sources() -> dict[str, Source]:
    """Return all sources by key."""
    return load_plugins(__package__, "SOURCE")


def open_images(
    location: str,
    source: str | None = None,
    *,
    pattern: str | None = None,
    pixel_size_um: float | None = None,
) -> PlateImages:
    """Find all images of a folder, file or address.

    Parameters
    ----------
    location : str
    source : str or None
        Key of the source; found by looking where it is None.
    pattern : str or None
        How files are named, such as ``"{well}_s{field}_w{channel}.tif"``.
    pixel_size_um : float or None
        Replaces the pixel size that the images give.

    Raises
    ------
    DataError
        Where there is nothing, where no source or several recognise it, where it holds no field,
        and for what the source itself refuses.
    """
    check_pixel_size("--pixel-size", pixel_size_um)
    chosen = _chosen(location, source, pattern)
    given = {} if pattern is None else {"pattern": pattern}
    try:
        images = sources()[chosen].read(location, **given)
        notes = (*images.notes, *_link_notes(Path(location)))
    except OSError as error:
        raise DataError(f"{location}: cannot be read ({error.strerror or error}).") from error
    if not images.fields:
        raise DataError(
            f"{location}: no field found as {chosen} ({sources()[chosen].title}), expected images "
            "of wells; --source reads it as another format."
        )
    images = replace(
        images,
        fields=tuple(sorted(images.fields, key=lambda one: one.key)),
        notes=notes,
    )
    return images if pixel_size_um is None else replace(images, pixel_size_um=pixel_size_um)


def _link_notes(location: Path) -> Iterator[str]:
    """Yield a sentence on links in a folder that are not followed."""
    if location.is_dir() and (links := sorted(links_left_out(location))):
        yield (
            f"{len(links):,} links to folders, to files elsewhere or to nothing are not followed, "
            f"such as {shown(links[0], 100)}."
        )


def check_pixel_size(option: str, size_um: float | None) -> float | None:
    """Return a size that was given by an option, None as it is.

    Raises
    ------
    DataError
        For a size that no pixel has.
    """
    if size_um is not None and not 0 < size_um < 100:
        raise DataError(f"{option} {size_um:g} found, expected micrometres above 0 and below 100.")
    return size_um


def _chosen(location: str, source: str | None, pattern: str | None) -> str:
    """Return the key of the source to read a location with."""
    known = sources()
    if source is not None and source not in known:
        raise DataError(f"--source {source!r} found, expected one of {', '.join(known)}.")
    is_remote = "://" in location
    if not is_remote and not Path(location).exists():
        raise DataError(f"{location}: no such file or folder, expected the images of a plate.")
    if pattern is not None:
        source = source or next(key for key, one in known.items() if one.takes_pattern)
        if not known[source].takes_pattern:
            raise DataError(
                f"--pattern found with --source {source}, which takes none; leave one out."
            )
    if source is None:
        source = _recognised(location)
    if is_remote and not known[source].remote:
        raise DataError(f"{location}: {source} reads folders only; copy the plate to a disk.")
    return source


def _recognised(location: str) -> str:
    fitting = [
        key for key, one in sources().items() if not one.fallback and one.recognises(location)
    ]
    if len(fitting) > 1:
        raise DataError(f"{location}: looks like {' and '.join(fitting)}; choose one by --source.")
    if not fitting:
        fitting = [
            key for key, one in sources().items() if one.fallback and one.recognises(location)
        ]
    if not fitting:
        titles = ", ".join(one.title for one in sources().values())
        raise DataError(f"{location}: no images of a plate found, expected one of these: {titles}.")
    return fitting[0]


def file_inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of a file that an index names, which must lie in the folder.

    Parameters
    ----------
    folder : Path
    name : str
        As the index spells it; ``\\\\`` separates folders as ``/`` does.
    where : str
        The index, for the message.

    Raises
    ------
    DataError
        For a name that leads out of the folder, by ``..``, a root or a link.
    """
    path = folder / name.replace("\\", "/")
    # Resolving asks the disk for each part of a path, which is slow for thousands of plain names.
    is_plain = path.name == name != ".." and not path.is_symlink()
    if "\0" in name or not (is_plain or path.resolve().is_relative_to(folder.resolve())):
        raise DataError(
            f"{where}: names the file '{shown(name, 100)}' outside {folder}, expected files "
            "inside; it is not read."
        )
    return path


def tiff_plane(
    folder: Path, name: str, where: str, there: AbstractSet[str] | None = None, page: int = 0
) -> Plane:
    """Return the plane of a TIFF that an index names, a `MissingPlane` where there is no file.

    Parameters
    ----------
    folder, name, where
        See `file_inside`.
    there : set of str or None
        From `files_of`, so that not each file has to be looked for on a slow disk.
    page : int
        Of the TIFF, from 0.
    """
    if there is not None and name in there:
        return TiffPlane(folder / name, page)
    path = file_inside(folder, name, where)
    return TiffPlane(path, page) if path.is_file() else MissingPlane(path, Path(where).name)


def files_of(folder: Path) -> frozenset[str]:
    """Return the names of all files of a folder that are no links."""
    with os.scandir(folder) as entries:
        return frozenset(one.name for one in entries if one.is_file(follow_symlinks=False))


def read_xml(path: Path) -> Element:
    """Parse an XML file without entities, and without its namespaces.

    Returns
    -------
    Element
        The root. Tags and attributes have their local names.

    Raises
    ------
    DataError
        For text that is not XML, entities (XML bombs), and references to other files.
    """
    from defusedxml import ElementTree

    with _xml_errors(path):
        _check_size(path)
        return _localised(ElementTree.parse(path, forbid_dtd=True).getroot())


def parse_xml(text: str | bytes, where: str | Path) -> Element:
    """Parse XML that stands inside another file; see `read_xml`."""
    from defusedxml import ElementTree

    with _xml_errors(where):
        return _localised(ElementTree.fromstring(text, forbid_dtd=True))


def elements(path: Path) -> Iterator[tuple[str, Element]]:
    """Yield the local name of each element of an XML file, and the element, when it ends.

    A caller that clears what it has read keeps little of a large index in memory.

    Raises
    ------
    DataError
        See `read_xml`.
    """
    from defusedxml.ElementTree import iterparse

    with _xml_errors(path):
        _check_size(path)
        for _, element in iterparse(path, forbid_dtd=True):
            yield local_name(element.tag), element


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_XML_BYTES:
        raise DataError(f"{path}: {size:,} bytes found, expected at most {MAX_XML_BYTES:,}.")


@contextmanager
def _xml_errors(where: str | Path) -> Iterator[None]:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException

    try:
        yield
    except DefusedXmlException as error:
        raise DataError(
            f"{where}: defines entities or refers to other files, which is not read; expected the "
            "plain XML of an instrument."
        ) from error
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}).") from error
    except (ParseError, ValueError, LookupError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise DataError(
            f"{where}: cannot be read as XML ({reason}); it may be cut short."
        ) from error


def _localised(root: Element) -> Element:
    for element in root.iter():
        element.tag = local_name(element.tag)
        element.attrib = attributes(element)
    return root


def attributes(element: Element) -> dict[str, str]:
    """Return the attributes of an element by local name."""
    return {local_name(name): value for name, value in element.attrib.items()}


def local_name(name: str) -> str:
    """Return a tag without its namespace."""
    return name.rpartition("}")[2]
