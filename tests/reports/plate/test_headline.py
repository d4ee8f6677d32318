"""The headline says whether to trust the labels, in words that the figures support."""

from __future__ import annotations

import pytest

from coos_mlflow.reports.plate.headline import MAX_USABLE_ERROR, assumptions, far_outside, headline

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


def test_an_estimate_that_rests_on_wells_says_what_it_takes_for_granted(scored, make_entry):
    drift, _ = scored()
    assert assumptions(drift) == "if each well holds one protein"
    drift["error_record"]["chosen"] = "confidence"
    assert assumptions(drift) == ""
    assert assumptions(scored([make_entry(error=None)])[0]) == ""
    drift, _ = scored([make_entry(verdict="shifted", distance=30.0)])
    both = "if each well holds one protein and the cells are of these classes at all"
    assert assumptions(drift) == both
