"""The summary holds what the page shows, in the words that the page uses."""

from __future__ import annotations

import pytest

from coos_mlflow.data.cells import SPLITS
from coos_mlflow.drift.views import VIEWS
from coos_mlflow.report.summary import MOST_MAPS, MOST_PLATES, summarise
from coos_mlflow.report.wording import shown


def test_in_range_says_what_error_to_expect(scored):
    verdict = summarise(**scored())["verdict"]
    assert verdict["key"] == "in-range"
    assert verdict["words"] == "In range"
    assert verdict["trust"] == "The labels can be used."
    assert "fitted on the others: its balanced error there was 6.0 %" in verdict["advice"]


def test_in_range_does_not_praise_a_weak_model(scored):
    verdict = summarise(**scored(errors={"training": 43.0, "test2": 4.0}))["verdict"]
    assert verdict["trust"] == "The plate is fine, the model is weak."
    assert "43.0 %" in verdict["advice"]


@pytest.mark.parametrize(
    ("distance", "trust"),
    [(3.0, "Check the labels before using them."), (30.0, "Do not use the labels.")],
)
def test_shifted_and_far_outside_differ(scored, make_entry, distance, trust):
    plates = [make_entry(verdict="shifted", distance=distance)]
    summary = summarise(**scored(plates))
    assert summary["verdict"]["trust"] == trust
    assert summary["plates"][0]["beyond"] == (distance > 10)


def test_cannot_tell_shows_no_p_and_no_mark(scored, make_entry):
    summary = summarise(**scored([make_entry(verdict="cannot tell")]))
    assert summary["verdict"]["trust"] == "Take the labels as unverified."
    assert not any(figure["label"].startswith("rank p") for figure in summary["key_figures"])
    assert summary["ladder"][0]["rows"][0]["marks"] == []
    assert summary["ladder"][0]["usual"] is None


@pytest.mark.parametrize(
    ("plate", "model", "words"),
    [
        (False, False, None),
        (True, False, "Simulated data: the plate is not microscopy."),
        (False, True, "Simulated data: what the model was trained on is not microscopy."),
        (True, True, "Simulated data: the plate and what the model was trained on are not"),
    ],
)
def test_simulated_data_is_named(scored, plate, model, words):
    said = summarise(**scored(plate_simulated=plate, model_simulated=model))["simulated"]
    assert said is None if words is None else said.startswith(words)


def test_m_and_the_smallest_p_are_key_figures(scored):
    figures = {f["label"]: f["value"] for f in summarise(**scored())["key_figures"]}
    assert figures["reference plates, m"] == "20"
    assert figures["smallest p that m allows"] == "0.048"
    assert figures["rank p (small: unusual)"] == "0.52"
    assert figures["cells"] == "300"


def test_the_ladder_has_a_row_for_each_split_in_each_view(scored):
    ladder = summarise(**scored())["ladder"]
    assert [panel["view"] for panel in ladder] == list(VIEWS)
    for panel in ladder:
        assert [row["key"] for row in panel["rows"]] == ["new", *SPLITS]
        assert panel["rows"][0]["marks"] == [{"words": "plate P7", "distance": 0.9}]


def test_the_farthest_plates_come_first_and_the_rest_are_counted(scored, make_entry):
    plates = [make_entry(f"p{n}", "shifted", 2 + n / 10) for n in range(MOST_PLATES + 5)]
    plates.append(make_entry("last", "cannot tell"))
    summary = summarise(**scored(plates))
    assert summary["plates"][0]["plate"] == f"p{MOST_PLATES + 4}"
    assert (len(summary["plates"]), summary["plates_left_out"]) == (MOST_PLATES, 6)
    assert (len(summary["maps"]), summary["maps_left_out"]) == (MOST_MAPS, MOST_PLATES + 6 - 4)
    figures = {f["label"]: f["value"] for f in summary["key_figures"]}
    assert figures["plates shifted"] == str(MOST_PLATES + 5)


def test_maps_compare_border_and_inner_wells(scored):
    plate = summarise(**scored())["maps"][0]
    # A01 is on the border but its distance is unknown: P24 alone stands for the border.
    assert plate["border"] == {"border": pytest.approx(1.1), "inner": pytest.approx(1.1)}
    assert plate["wells"][0]["distance"] is None
    assert (plate["wells"][0]["label"], plate["wells"][0]["share"]) == (0, 0.6)


def test_cells_are_grouped_by_class_and_role(scored):
    classes = summarise(**scored())["cells"]
    assert [group["name"] for group in classes] == ["Endoplasmic Reticulum", "Golgi"]
    roles = {role["role"]: role["cells"] for role in classes[0]["roles"]}
    assert list(roles) == ["typical", "doubtful", "farthest", "reference"]
    assert roles["doubtful"][0]["words"] == (
        "plate P7, well A01, cell 0, confidence 50%, distance 2.0"
    )
    assert roles["reference"][0]["caption"] == "Training"


def test_what_moved_is_said_as_a_factor_or_a_difference(scored):
    moves = summarise(**scored())["moves"]
    assert moves["moved"] == ["protein background (1st percentile)"]
    assert moves["rows"][0]["words"] == "×1.8"
    assert moves["rows"][-1]["words"] == "+0.05"


def test_errors_by_split_leave_unknown_recalls_open(scored):
    rows = summarise(**scored())["errors"]
    assert [row["split"] for row in rows] == ["Training", "Test1", "Test2"]
    assert rows[2]["recalls"][:2] == [0.7, None]
    assert "fit on the other plates" in rows[0]["meaning"]


def test_provenance_is_flat_text(scored):
    rows = summarise(**scored())["provenance"]
    assert rows == [("plate file: sha256", "ab" * 32), ("seconds", "4.25"), ("command", "x")]


def test_names_are_made_fit_for_a_page():
    assert shown("a\0b\u202ec") == "a�b�c"
    assert shown("x" * 10_000) == "x" * 39 + "…"
    assert shown("לוחית") == "לוחית"
