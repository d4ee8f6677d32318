"""Names of plates, images and columns cannot lead out of the folder they are meant for."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coos_mlflow._utils.files import check_folder
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.plates import tiff
from coos_mlflow.plates.file_names import check_names
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect
from coos_mlflow.plates.tiff_pairs import find_pairs
from coos_mlflow.registry.results import RESULTS
from coos_mlflow.scoring.scorer import Scorer

PATTERNS = ("*_gfp.tif", "*_rfp.tif")

HOSTILE = [
    "../cell0",
    "../../cell0",
    "/etc/passwd",
    "//etc/passwd",
    "..",
    ".",
    "~/cell0",
    "cell0/../../x",
    "..\\..\\cell0",
    "C:\\cell0",
    "cell0\0",
    "\0",
    "\u2025/cell0",
    "\uff0e\uff0e/cell0",
    "\u2024\u2024/cell0",
    "cell0\u202e",
    "ce\u0301ll0",
    "CELL0",
    "cell0 ",
    ".cell0.parts",
    "x" * 5000,
    "",
]

paths = st.text(st.sampled_from("./\\~ab\0\u202e\uff0e:"), max_size=12) | st.sampled_from(HOSTILE)
slowly = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def images(tmp_path, random_cells) -> Path:
    """A folder with one pair of images, and one that looks the same outside it."""
    for folder in (tmp_path / "in", tmp_path):
        folder.mkdir(exist_ok=True)
        for image, ending in zip(random_cells(1)[0], ("gfp", "rfp"), strict=True):
            tifffile.imwrite(folder / f"cell0_{ending}.tif", image)
    return tmp_path / "in"


def table(*rows: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# What a table of cells says


@slowly
@given(name=paths)
def test_a_csv_reaches_no_image_outside(images, name):
    (images / "cells.csv").write_text(table(["file"], [name]), encoding="utf-8")
    try:
        pairs = find_pairs(images, PATTERNS)
    except DataError as error:
        assert str(error).isprintable()
        return
    assert ".." not in name
    assert pairs.paths == [(images / "cell0_gfp.tif", images / "cell0_rfp.tif")]


@slowly
@given(ids=st.lists(paths | st.text(max_size=300), min_size=4, max_size=4), label=paths)
def test_columns_of_a_csv_stay_text(images, tmp_path, ids, label):
    (images / "cells.csv").write_text(
        table(["file", "label", "plate", "well", "date", "microscope"], ["cell0", label, *ids]),
        encoding="utf-8",
        errors="surrogatepass",
    )
    before = below(tmp_path)
    try:
        pairs = find_pairs(images, PATTERNS)
        tiff.pack(pairs, tmp_path / "p.h5")
    except DataError:
        assert below(tmp_path) == before
        return
    assert below(tmp_path) - before == {"p.h5"}
    with open_plate(tmp_path / "p.h5") as plate:
        found = [str(getattr(plate, n)[0]) for n in ("plates", "wells", "dates", "microscopes")]
        assert all(text.isprintable() for text in found)
        before = below(tmp_path)
        tiff.unpack(plate, tmp_path / "out")
    made = below(tmp_path) - before
    assert all(Path(name).parts[0] == "out" for name in made)
    (group,) = (path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert group.isprintable() and not group.startswith(".")
    stems = {"out", "out/cells.csv", f"out/{group}"}
    assert made == stems | {f"out/{group}/COOSv1cell_0_{c}.tif" for c in ("protein", "nucleus")}
    for path in ("p.h5", *sorted(made, reverse=True)):
        target = tmp_path / path
        target.rmdir() if target.is_dir() else target.unlink()


# Links inside the folder of images


def test_a_folder_that_is_a_link_leads_nowhere(images, tmp_path, random_cells):
    """Neither to images outside nor, over a link to the folder itself, for ever."""
    (images / "more").symlink_to(tmp_path)
    (images / "again").symlink_to(images)
    assert find_pairs(images, PATTERNS).stems == ["cell0"]


@pytest.mark.parametrize("target", ["absolute", "relative", "chain", "dangling", "circle"])
def test_an_image_that_is_a_link(images, tmp_path, target):
    image = images / "cell0_gfp.tif"
    image.unlink()
    places = {
        "absolute": tmp_path / "cell0_gfp.tif",
        "relative": Path("../cell0_gfp.tif"),
        "chain": Path("step"),
        "dangling": Path("../nowhere.tif"),
        "circle": Path("cell0_gfp.tif"),
    }
    (images / "step").symlink_to("../cell0_gfp.tif")
    image.symlink_to(places[target])
    with pytest.raises(DataError, match=r"is a link to a file outside|have no partner|no image"):
        find_pairs(images, PATTERNS)


def test_a_link_inside_the_folder_is_followed(images):
    (images / "cell0_gfp.tif").rename(images / "kept.tif")
    (images / "cell0_gfp.tif").symlink_to("kept.tif")
    assert find_pairs(images, PATTERNS).stems == ["cell0"]


# Names of the plate itself


def test_names_that_are_no_names_for_results(make_plate, tmp_path):
    """`scores / ...h5` without its ending is the folder above `scores`."""
    plate = make_plate()
    for name in ("...h5", "..h5", "....h5", "\x1b[2J.h5", "a\nb.h5", "a\u2028b.h5", "\u202eb.h5"):
        odd = plate.rename(tmp_path / name)
        with pytest.raises(DataError, match="is no file name to work with") as caught:
            inspect(odd)
        assert str(caught.value).isprintable()
        odd.rename(plate)
    for name in ("naïve ü.h5", "細胞.h5", "a..h5", ".h5x", "emoji \U0001f468\u200d\U0001f52c.h5"):
        assert inspect(plate.rename(tmp_path / name)).n_cells == 24
        (tmp_path / name).rename(plate)


def test_a_name_that_is_no_text(make_plate, tmp_path):
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.h5"))
    with pytest.raises(DataError, match="is no file name to work with") as caught:
        inspect(make_plate().rename(odd))
    str(caught.value).encode()


@slowly
@given(
    name=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60)
    | st.text(st.sampled_from(".h5 a\u202e\n\\"), min_size=1, max_size=6)
    | st.sampled_from([".x.parts", "overview.html", "\udcff.h5", "..h5", "...", "CON"])
)
def test_results_of_any_name_lie_right_in_the_output_folder(make_plate, tmp_path, name):
    """Or the plate is refused before anything is written."""
    assume(name not in (".", "..", "scores"))
    plate, out = tmp_path / name, tmp_path / "scores"
    folder = Scorer.folder_for(plate, out)
    make_plate().rename(plate)
    try:
        with open_plate(plate):
            pass
        check_folder(folder, force=False, known=RESULTS)
    except CoosError as error:
        assert is_harmless(str(error))
        return
    finally:
        plate.unlink()
    assert folder.resolve().parent == out.resolve()
    assert not folder.name.startswith(".")
    assert is_harmless(str(folder))


def is_harmless(text: str) -> bool:
    """Tell that nothing in a text steers a terminal or cannot be written; odd spaces may be."""
    return not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(char) for char in text}


def test_a_plate_named_like_a_folder_of_unfinished_results(trained, make_plate, tmp_path):
    """The parts of `x` wait in `.x.parts`, and all else in that folder goes when `x` is scored."""
    scorer = Scorer.load("texture-lr")
    hidden, out = make_plate(".x.parts.h5"), tmp_path / "out"
    with pytest.raises(OutputError, match="kept for unfinished results; rename the plate"):
        scorer.score(hidden, out)
    with pytest.raises(OutputError, match="kept for unfinished results"):
        scorer.check(hidden, out)
    assert not out.exists()


def test_a_link_in_place_of_a_plates_results_is_not_followed(trained, make_plate, tmp_path):
    scorer, plate, out = Scorer.load("texture-lr"), make_plate(), tmp_path / "out"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    out.mkdir()
    (out / "plate").symlink_to(tmp_path / "mine")
    for force in (False, True):
        with pytest.raises(OutputError, match="no result of this command"):
            scorer.score(plate, out, force=force)
    assert below(tmp_path / "mine") == {"notes.txt"}


def test_a_plate_that_is_a_link_is_scored_under_its_own_name(trained, make_plate, tmp_path):
    (tmp_path / "link.h5").symlink_to(make_plate("real.h5"))
    scored = Scorer.load("texture-lr").score(tmp_path / "link.h5", tmp_path / "out")
    assert scored.folder == tmp_path / "out" / "link"
    assert below(scored.folder) == set(RESULTS)


def test_plates_whose_names_differ_by_their_ending_alone_are_refused(make_plate):
    with pytest.raises(DataError, match="both be scored into x"):
        check_names([make_plate("x.h5"), make_plate("x.hdf5")])


def test_a_very_long_name_is_one_sentence(trained, make_plate, tmp_path):
    plate = make_plate().rename(tmp_path / f"{'x' * 250}.h5")
    with pytest.raises(OutputError, match="File name too long") as caught:
        Scorer.load("texture-lr").score(plate, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert below(tmp_path) <= {plate.name, "out"}


def test_ids_are_no_paths_in_any_result(trained, make_plate, tmp_path):
    ids = np.array(["../../up", "/etc/x", "a/b", ".hidden"])
    plate = make_plate(plates=ids[np.arange(24) // 6], wells=ids[np.arange(24) % 4])
    before = below(tmp_path)
    scored = Scorer.load("texture-lr").score(plate, tmp_path / "out")
    made = {"out", "out/plate", *(f"out/plate/{name}" for name in RESULTS)}
    assert below(tmp_path) - before == made
    assert below(scored.folder) == set(RESULTS)
