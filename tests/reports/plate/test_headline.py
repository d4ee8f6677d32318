"""The headline says whether to trust the labels, in words that the figures support."""

from __future__ import annotations

import pytest

from coos_mlflow.reports.plate.doubts import ALWAYS_A_CLASS, assumptions, doubts
from coos_mlflow.reports.plate.headline import MAX_USABLE_ERROR, far_outside, headline

KNOWS = "every plate that the model knows"


def test_in_range_says_that_the_labels_can_be_used_and_what_error_to_expect(scored):
    drift, _ = scored()
    answer = headline(drift)
    assert answer["key"] == "in-range"
    assert drift["error"]["wrong_labels"] == 5.12
    assert answer["trust"] == "The labels can be used; about 5\xa0% are estimated to be wrong."
    assert "fitted without, the model's balanced error was 6.0" in answer["advice"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("plates", "On Training plates that it was fitted without, the"),
        ("network", "though not its network, was fitted without, the"),
        ("cells", "On held-out cells of the Training plates, on which its network was taught, the"),
    ],
)
def test_what_is_known_of_training_is_said_as_it_was_found(scored, how, words):
    drift, _ = scored()
    drift["reference"]["training_predictions"] = how
    assert words in headline(drift)["advice"]


def test_a_weak_model_is_not_praised_and_the_plates_own_estimate_stays(scored, make_entry):
    answer = headline(scored(training_error=43.0)[0])
    assert answer["trust"] == (
        "The plate is ordinary; the model's balanced error is 43\xa0% even on plates that it knows."
    )
    own = "On this plate the balanced error is estimated to be 6\xa0% (4 to 10\xa0%)."
    assert answer["advice"].startswith(own)
    unknown = headline(scored([make_entry(error=None)], training_error=43.0)[0])
    assert unknown["advice"].startswith("On this plate the balanced error cannot be estimated.")


def test_in_range_with_an_error_that_cannot_be_told_is_no_all_clear(scored, make_entry):
    answer = headline(scored([make_entry(error=None)])[0])
    assert answer["trust"] == (
        "Check the labels: the plate looks ordinary, but the error cannot be estimated."
    )
    assert "as good as" not in answer["advice"]


@pytest.mark.parametrize("key", ["balanced_error", "wrong_labels"])
def test_in_range_with_many_wrong_labels_is_no_all_clear(scored, key):
    drift, _ = scored()
    drift["error"][key] = MAX_USABLE_ERROR + 1
    assert headline(drift)["trust"] == "Check the labels before using them."


def test_in_range_yet_farther_than_all_known_is_said(scored, make_entry):
    drift, _ = scored([make_entry(distance=12.0, error=None)])
    assert headline(drift)["trust"].startswith("Check the labels: the plate is in range, yet")
    assert not far_outside(drift)


def test_in_range_as_a_whole_names_the_plates_that_are_not(scored, make_entry):
    entries = [make_entry(f"fine {n}") for n in range(20)]
    drift, _ = scored([*entries, make_entry("odd", "shifted", 2.2)])
    drift["verdict"] = "in range"
    assert headline(drift)["trust"] == (
        "The labels can be used; about 5\xa0% are estimated to be wrong. "
        "Above all, check the labels of plate odd."
    )
    odd = [make_entry(f"odd {n}", "shifted", 2.2) for n in range(7)]
    drift, _ = scored([*entries, *odd])
    drift["verdict"] = "in range"
    trust = headline(drift)["trust"]
    assert trust.endswith(
        "check the labels of plates odd 0, odd 1, odd 2, odd 3, odd 4 and 2 more."
    )
    assert "check" not in headline(scored(entries)[0])["trust"]


@pytest.mark.parametrize(
    ("distance", "trust"),
    [(3.0, "Check the labels before using them."), (30.0, "Do not use the labels.")],
)
def test_shifted_and_far_outside_differ(scored, make_entry, distance, trust):
    drift, _ = scored([make_entry(verdict="shifted", distance=distance)])
    assert headline(drift)["trust"] == trust
    assert far_outside(drift) == (distance > 10)


def test_far_plates_are_named_where_others_are_not_far(scored, make_entry):
    drift, _ = scored([make_entry("a"), make_entry("b", "shifted", 30.0)])
    assert headline(drift)["trust"] == "Do not use the labels of plate b."


def test_cannot_tell_does_not_make_little_of_what_is_there(scored, make_entry):
    unknown = headline(scored([make_entry(verdict="cannot tell", error=None)])[0])
    assert unknown["trust"] == "Take the labels as unverified."
    assert "No figure here shows that the labels are wrong" in unknown["advice"]
    far = headline(scored([make_entry("", "cannot tell", 30.0, error=None)])[0])
    assert far["trust"] == "Do not use the labels."
    assert far["advice"].startswith(f"The plate lies farther than {KNOWS}")
    wrong = headline(scored([make_entry(verdict="cannot tell", error=34.0)])[0])
    assert wrong["trust"] == "Check the labels before using them."
    assert "34\xa0% (24 to 54\xa0%)" in wrong["advice"]
    some = [make_entry("a", "cannot tell", error=None), make_entry("b", "shifted", 2.2)]
    drift, _ = scored(some)
    drift["verdict"] = "cannot tell"
    assert "Plate b is shifted by its own measure" in headline(drift)["advice"]
    for answer in (far, wrong, headline(drift)):
        assert "No figure" not in answer["advice"]


def test_an_estimate_says_what_it_takes_for_granted(scored, make_entry):
    drift, _ = scored()
    both = "if each well holds one protein and all cells are of the 7 classes"
    assert assumptions(drift) == both
    drift["error_record"]["chosen"] = "confidence"
    assert assumptions(drift) == "if all cells are of the 7 classes"
    assert assumptions(scored([make_entry(error=None)])[0]) == ""


@pytest.mark.parametrize("verdict", ["in range", "shifted", "cannot tell"])
@pytest.mark.parametrize("distance", [2.0, 30.0])
def test_a_reader_always_hears_that_the_model_knows_no_other_class(
    scored, make_entry, verdict, distance
):
    drift, _ = scored([make_entry(verdict=verdict, distance=distance)])
    answer = headline(drift)
    assert " ".join([answer["advice"], *answer["doubts"]]).count(ALWAYS_A_CLASS) == 1
    drift["error"]["answer"] = "measured"
    assert ALWAYS_A_CLASS not in headline(drift)["doubts"]


def open_ended(drift: dict, low: float = 3.0) -> dict:
    """Take the upper end from the error of a file."""
    nothing = [None] * len(drift["error"]["recalls"])
    reason = "On plates unlike those of Training whole wells may be misread."
    drift["error"] |= {"answer": "at least", "low": low, "high": None, "recall_lows": nothing}
    drift["error"]["reason"] = reason
    return drift


@pytest.mark.parametrize("verdict", ["in range", "shifted"])
def test_an_error_without_an_upper_end_is_no_all_clear(scored, make_entry, verdict):
    drift = open_ended(scored([make_entry(verdict=verdict, distance=2.2)])[0])
    answer = headline(drift)
    assert answer["trust"].startswith("Check the labels")
    said = answer["trust"] + answer["advice"]
    assert "the balanced error is at least 3.0\xa0% (best guess 6.4\xa0%)." in said
    assert "The true error may be far higher: on plates unlike those" in answer["advice"]


def test_a_lower_end_of_nothing_is_not_called_a_lower_end(scored, make_entry):
    drift = open_ended(scored([make_entry(verdict="shifted", distance=2.2)])[0], low=0.0)
    assert "the balanced error is unknown (best guess 6.4\xa0%)." in headline(drift)["advice"]


def test_labels_that_disagree_within_wells_are_named_where_images_look_ordinary(scored, make_entry):
    drift, _ = scored([make_entry(verdict="cannot tell", distance=12.0) | {"beyond": False}])
    drift["plates"][0]["judged"] = True
    answer = headline(drift)
    assert answer["trust"] == ("Check the labels: the images look ordinary, but the labels do not.")
    assert "more than one protein" in answer["advice"]


def test_classes_that_no_well_decides_for_are_named_where_most_are_there(scored):
    drift, _ = scored()
    assert not any("No well" in doubt for doubt in doubts(drift))  # two of seven are there
    drift["error"]["missing"] = [3]
    (missing,) = [doubt for doubt in doubts(drift) if "No well" in doubt]
    name = drift["dataset"]["classes"][3]["name"]
    assert missing == (
        f"No well was read as {name}: either the plate has none, or its wells are misread."
    )
    drift["error"]["missing"] = [3, 4, 5]
    assert any("No well was read as Peroxisomes, " in doubt for doubt in doubts(drift))


def test_classes_whose_recall_cannot_be_told_are_named_first(scored):
    drift = open_ended(scored()[0])
    drift["error"]["untold"] = [2]
    assert "How well Golgi is recognised cannot be told." in doubts(drift)


def test_classes_with_too_few_cells_are_called_not_judged(scored, make_entry):
    assert "Not judged, too few cells: Cytosol (9 cells)." in doubts(scored()[0])
    rare = make_entry() | {"not_judged": [{"class": 6, "n_cells": 40}]}
    rare["class_shares"] = {"predicted": [0.5, 0, 0.4, 0, 0, 0, 0.1]}
    words = "Not judged, on too few Training plates: Nuclear Envelope (40 cells)."
    assert words in doubts(scored([rare])[0])
    several = doubts(scored([make_entry(f"p{n}") for n in range(7)])[0])
    assert "plate p4: Cytosol (9 cells) and 2 more plates." in " ".join(several)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"test1": 0.04, "test3": 0.62, "test4": 0.8}, "Test3's size would be found about 6 times"),
        ({"test1": 0.04, "test3": 0.86, "test4": 0.8}, "Test4's size would be found about 8 times"),
        ({"test1": 0.04, "test3": 0.86, "test4": 1.0}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_thin_reference_says_first_what_it_misses(scored, make_entry, found, words):
    drift, _ = scored()
    drift["reference"]["sensitivity"] = {"alarms": 1, "of": 20, "found": found}
    said = " ".join(doubts(drift))
    assert ("can miss shifts" in said) == (words is not None)
    assert words is None or words in said
    shifted, _ = scored([make_entry(verdict="shifted", distance=2.2)])
    shifted["reference"]["sensitivity"] = {"alarms": 1, "of": 20, "found": found}
    assert "can miss shifts" not in " ".join(doubts(shifted))
