"""Patterns of file names, given and guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.errors import DataError
from coos_mlflow.fields.sources._names import Name, Pattern, guess

GUESSES = [
    (["B03_s1_w2.tif", "B04_s2_w1.tif"], "{well}_s{field}_w{channel}.tif"),
    (["p_A01_s1_w1.TIF", "p_A01_s2_w1.TIF"], "p_{well}_s{field}_w{channel}.tif"),
    (["x/B03/f1_DAPI.tif", "x/B03/f2_GFP.tif"], "x/{well}/f{field}_{channel}.tif"),
    (["p1/B03.tif", "p2/B03.tif"], "{plate}/{well}.tif"),
    (["000123/B03_s1.tif", "000124/B03_s1.tif"], "{plate}/{well}_s{field}.tif"),
    (["2024-01-01/B03.tif", "2024-01-02/B03.tif"], "{plate}/{well}.tif"),
    (["7/x/B03.tif", "8/x/B03.tif"], "{plate}/x/{well}.tif"),
    (["A01 DAPI.tif", "A01 GFP.tif"], "{well} {channel}.tif"),
    (["A01_1.tif", "A01_2.tif"], "{well}_{field}.tif"),
    (["A01.ome.tif", "A02.ome.tif"], "{well}.ome.tif"),
    (["Well B03 Field 2 Channel 1.tif"], "Well {well} Field {field} Channel {channel}.tif"),
    (
        ["s_D08_T0001F001L01A01Z02C01.tif", "s_D08_T0001F002L01A02Z01C02.tif"],
        "s_{well}_T{time}F{field}L01A*Z{z}C{channel}.tif",
    ),
    (
        ["r01c02f03p01-ch1sk1fk1fl1.tiff", "r01c02f04p01-ch2sk1fk1fl1.tiff"],
        "r{row}c{column}f{field}p{z}-ch{channel}sk{time}fk1fl1.tif",
    ),
    (
        ["Channel 1-01-A-01-00.tif", "Channel 2-12-A-12-00.tif"],
        "Channel {channel}-*-{row}-{column}-00.tif",
    ),
]


@pytest.mark.parametrize(("names", "pattern"), GUESSES)
def test_the_names_of_many_instruments_are_guessed(names, pattern):
    found = guess(names, "folder")
    assert found.text == pattern
    assert all(found.read(name) for name in names)


def test_a_pattern_reads_each_word():
    name = Pattern("{plate}/{well}/t{time}_z{z}_f{field}_{channel}.tif").read(
        "plate 7/b3/T02_z5_F11_Alexa 488.TIFF"
    )
    assert name == Name("plate 7", "B03", 11, "Alexa 488", 5, 2)


def test_what_is_not_in_the_name_is_one():
    assert Pattern("{well}.tif").read("P24.tif") == Name("", "P24", 1, "", 1, 1)


@pytest.mark.parametrize(("row", "well"), [("C", "C07"), ("c", "C07"), ("3", "C07"), ("03", "C07")])
def test_row_and_column_are_letters_or_numbers(row, well):
    name = Pattern("{row}-{column}.tif").read(f"{row}-07.tif")
    assert name is not None and name.well == well


def test_without_a_folder_a_pattern_is_of_the_name_in_any_folder():
    assert Pattern("{well}.tif").read("some/folder/B03.tif")
    assert Pattern("folder/{well}.tif").read("some/folder/B03.tif") is None


@pytest.mark.parametrize("path", ["Q99.tif", "B00.tif", "B03.png", "B03", "xB03.tif", ""])
def test_other_names_do_not_fit(path):
    assert Pattern("{well}.tif").read(path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{well}_{depth}.tif", r"has \{depth\}, expected words of plate, well"),
        ("{well}_{well}.tif", r"has \{well\} twice"),
        ("{row}_{channel}.tif", r"has no \{well\} and no \{row\} with \{column\}"),
        ("", "has no"),
    ],
)
def test_a_pattern_that_says_nothing_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        Pattern(text)


def test_names_without_a_well_ask_for_a_pattern():
    with pytest.raises(DataError, match=r"no well found in names such as 'cells\.tif'.*--pattern"):
        guess(["cells.tif", "other.tif"], "folder")


@given(st.lists(st.text("AB1_- ./{}*\\é", min_size=1, max_size=12), min_size=1, max_size=4))
def test_any_names_give_a_pattern_or_one_sentence(names):
    paths = [f"{name}.tif" for name in names]
    try:
        found = guess(paths, "folder")
    except DataError as error:
        assert "\n" not in str(error)
        return
    for path in paths:
        found.read(path)
