"""Which channel is protein and which nucleus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.errors import DataError
from coos_mlflow.fields.channels import NUCLEUS, OTHER, TRANSMITTED, choose_channels, role
from coos_mlflow.fields.plate_images import Channel

PAINTING = ["Alexa 647", "Alexa 568", "488 long", "Alexa 488", "HOECHST 33342", "Brightfield"]
TWO = ["EGFP", "DAPI", "Brightfield"]


def choose(names: list[str], **asked: str) -> tuple[int, int, tuple[str, ...]]:
    return choose_channels([Channel(name) for name in names], **asked)


@pytest.mark.parametrize(
    "name",
    [
        *("DAPI", "dapi_confocal", "Hoechst", "HOECHST 33342", "H33342", "H 33342", "DRAQ5"),
        *("NucBlue", "SiR-DNA", "SiRDNA", "SPY650-DNA", "TO-PRO-3", "TOPRO3", "SYTOX Green"),
        *("H2B-mCherry", "Nuclei", "DNA", "NucRed 647"),
    ],
)
def test_a_dye_of_dna_is_the_nucleus(name):
    assert role(Channel(name)) == NUCLEUS


@pytest.mark.parametrize(
    "name",
    [
        *("Brightfield", "Brightfield high", "bright field", "BF", "Phase", "DPC", "DIC"),
        *("Digital Phase Contrast", "TL 20x", "Transmission", "BF - DNA"),
    ],
)
def test_light_through_the_cells_is_neither(name):
    assert role(Channel(name)) == TRANSMITTED


@pytest.mark.parametrize(
    "name", ["EGFP", "FITC", "Alexa 488", "488 long", "channel 2", "SYTO 14 RNA"]
)
def test_all_else_is_fluorescence(name):
    assert role(Channel(name)) == OTHER


def test_the_one_dye_and_the_one_other_channel_are_taken_and_said():
    protein, nucleus, sentences = choose(TWO)
    assert (protein, nucleus) == (0, 1)
    assert len(sentences) == 2
    assert "1 (EGFP)" in sentences[0] and "--protein" in sentences[0]
    assert "2 (DAPI)" in sentences[1] and "--nucleus" in sentences[1]


@pytest.mark.parametrize("asked", ["Alexa 488", "alexa 488", "ALEXA 488", "4"])
def test_a_channel_is_chosen_by_name_in_any_case_or_by_number(asked):
    assert choose(PAINTING, protein=asked)[:2] == (3, 4)


def test_a_part_of_a_name_is_enough_where_no_other_name_has_it():
    assert choose(PAINTING, protein="long", nucleus="hoe") == (2, 4, ())
    with pytest.raises(DataError, match=r"--protein '488' fits 3 \(488 long\), 4 \(Alexa 488\)"):
        choose(PAINTING, protein="488")


def test_a_name_that_is_a_number_comes_before_the_number():
    assert choose(["2", "DAPI"], protein="2")[:2] == (0, 1)


def test_what_was_asked_for_is_not_called_a_guess():
    assert choose(TWO, protein="1", nucleus="2")[2] == ()
    assert len(choose(TWO, protein="1")[2]) == 1


def test_a_second_dye_can_be_the_protein_where_it_is_asked_for():
    assert choose(["DRAQ5", "Hoechst"], protein="DRAQ")[:2] == (0, 1)


@pytest.mark.parametrize(
    ("names", "asked", "message"),
    [
        (
            PAINTING,
            {},
            r"--protein is needed, since 4 of .* 1 \(Alexa 647\), 2 .*; give a name or number\.",
        ),
        (["EGFP", "DAPI", "DRAQ5"], {}, r"--nucleus is needed, since 2 of .* 3 \(DRAQ5\)"),
        (["EGFP", "RFP"], {}, "--nucleus is needed, since none of"),
        (["DAPI", "BF"], {}, "--protein is needed, since none of"),
        (TWO, {"protein": "dapi", "nucleus": "2"}, "as protein and as nucleus"),
        (TWO, {"protein": "9"}, r"--protein '9' fits no channel, expected one of 1 \(EGFP\), 2"),
        (TWO, {"protein": ""}, "--protein '' fits no channel"),
        (TWO, {"nucleus": "\x1b[31m"}, r"--nucleus '\\x1b\[31m' fits no channel"),
        ([], {}, "--nucleus is needed"),
    ],
)
def test_no_choice_is_made_where_the_names_leave_one(names, asked, message):
    with pytest.raises(DataError, match=message) as said:
        choose(names, **asked)
    assert "\n" not in str(said.value)


def test_only_candidates_are_listed_where_there_are_some():
    with pytest.raises(DataError) as said:
        choose(PAINTING)
    assert "4 of the channels could" in str(said.value) and "HOECHST" not in str(said.value)
    with pytest.raises(DataError, match=r"none of the channels can .* 1 \(DAPI\), 2 \(BF\)"):
        choose(["DAPI", "BF"])


@given(st.lists(st.text(max_size=12), max_size=5), st.text(max_size=4), st.text(max_size=4))
def test_the_choice_is_two_channels_or_one_sentence(names, protein, nucleus):
    try:
        chosen = choose(names, protein=protein, nucleus=nucleus)[:2]
    except DataError:
        return
    assert chosen[0] != chosen[1] and set(chosen) <= set(range(len(names)))
