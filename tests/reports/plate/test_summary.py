"""The summary holds what the page shows, in the words that the page uses."""

from __future__ import annotations

import pytest
from _coos7 import CLASSES

from coos_mlflow.drift.edge_wells import edge_against_inner
from coos_mlflow.drift.image_quality import VIEWS
from coos_mlflow.reports.plate.cells import trimmed
from coos_mlflow.reports.plate.html import render
from coos_mlflow.reports.plate.markdown import render_markdown
from coos_mlflow.reports.plate.summary import MAX_PLATES, summarise
from coos_mlflow.reports.plate.wording import LEFT_OUT, estimate, shown


def summary_of(arguments):
    return summarise(*arguments)


def test_the_estimate_has_a_figure_a_range_and_the_plain_share(scored):
    error = summary_of(scored())["error"]
    assert error["estimate"]["value_words"] == "6\xa0%"
    assert error["estimate"]["range_words"] == "4 to 10\xa0%"
    assert error["estimate"]["wrong_words"] == "5\xa0%"
    first = summary_of(scored())["first"]
    assert first["how_words"] == "estimated" and first["off"] == ""
    assert first["assumptions"].startswith("if each well holds one protein and all cells")


def test_cannot_tell_shows_no_p_and_no_mark(scored, make_entry):
    summary = summary_of(scored([make_entry(verdict="cannot tell", error=None)]))
    assert summary["headline"]["trust"] == "Take the labels as unverified."
    assert not any(figure["label"].startswith("p of") for figure in summary["key_figures"])
    assert "Rank p" not in summary["compared"]
    assert summary["comparison"][0]["rows"][0] == {"key": "new", "title": "This plate", "marks": []}
    assert (summary["comparison"][0]["usual"], summary["comparison"][0]["p"]) == (None, None)
    assert summary["error"]["estimate"]["value_words"] == "Cannot tell"
    assert summary["error"]["recalls"] == []


def test_a_plate_that_cannot_be_judged_shows_its_distance_without_a_p(scored, make_entry):
    summary = summary_of(scored([make_entry(verdict="cannot tell", distance=30.0, error=None)]))
    assert {(panel["distance"], panel["p"]) for panel in summary["comparison"]} == {(30.0, None)}
    assert summary["plates"][0]["p"] is None
    assert set(summary["plates"][0]["view_p"].values()) == {None}
    assert "Rank p" not in summary["compared"]
    assert "30.0 here</p>" in render(summary)


@pytest.mark.parametrize(
    ("value", "low", "high", "words", "wrong"),
    [
        (6.34, 4.12, 9.11, "6.3\xa0% (4.1 to 9.1\xa0%)", "3.2\xa0%"),
        (12.3, 8.2, 19.6, "12\xa0% (8 to 20\xa0%)", "6\xa0%"),
        (0.42, 0.11, 12.0, "0.4\xa0% (0.1 to 12.0\xa0%)", "0.2\xa0%"),
    ],
)
def test_estimates_have_no_more_digits_than_they_know(value, low, high, words, wrong):
    error = {"balanced_error": value, "low": low, "high": high, "wrong_labels": value / 2}
    said = estimate(error | {"answer": "estimated", "reason": ""})
    assert said["words"] == words
    assert said["wrong_words"] == wrong


def test_an_answer_of_cannot_tell_hides_a_number_that_came_with_it():
    error = {"answer": "cannot tell", "balanced_error": 5.0, "low": 0, "high": 90, "reason": "Why."}
    assert estimate(error)["value"] is None
    assert estimate(error)["words"] == "cannot tell"


@pytest.mark.parametrize(
    ("plate", "model", "words"),
    [
        (False, False, None),
        (True, False, "Simulated data: the plate is not microscopy."),
        (False, True, "Simulated data: the training data of the model is not microscopy."),
        (True, True, "Simulated data: the plate and the training data of the model are not"),
    ],
)
def test_simulated_data_is_named(scored, plate, model, words):
    said = summary_of(scored(simulated=(plate, model)))["simulated"]
    assert said is None if words is None else said.startswith(words)


def test_m_and_the_smallest_p_are_key_figures(scored):
    figures = {f["label"]: f["value"] for f in summary_of(scored())["key_figures"]}
    assert figures["reference plates, m"] == "20"
    assert figures["smallest possible p"] == "0.048"
    assert figures["p of the verdict"] == "0.5"
    assert figures["cells"] == "300"


def test_the_p_that_decides_goes_no_lower_than_m_plates_allow(scored, make_entry):
    summary = summary_of(scored([make_entry(verdict="shifted", distance=3.0)]))
    figures = {f["label"]: f["value"] for f in summary["key_figures"]}
    assert figures["p of the verdict"] == "\N{LESS-THAN OR EQUAL TO} 0.048"


def test_a_lone_plate_says_which_classes_were_compared(scored, make_entry):
    drift, pictures = scored()
    words = (
        "Compared: Endoplasmic Reticulum, Golgi. Not judged, too few cells: Cytosol (9 cells). "
        "Rank p among the 20 Training plates: 0.52."
    )
    assert summarise(drift, pictures)["compared"] == words
    drift["plates"][0]["class_shares"]["predicted"] = [0.5, 0.019, 0.3, 0, 0, 0.03, 0.151]
    said = summarise(drift, pictures)["compared"]
    assert "Cytosol (9 cells). On too few Training plates to compare: Nuclear Envelope." in said
    assert summary_of(scored([make_entry("a"), make_entry("b")]))["compared"] == ""


def test_the_comparison_has_a_row_for_each_split_in_each_view_and_its_p(scored):
    comparison = summary_of(scored())["comparison"]
    assert [panel["view"] for panel in comparison] == list(VIEWS)
    for panel in comparison:
        assert [row["key"] for row in panel["rows"]] == [
            "new", "training", "near1", "near2", "near3", "near4",
        ]  # fmt: skip
        assert panel["rows"][0]["marks"][0]["words"] == "plate P7"
        assert panel["rows"][0]["marks"][0]["distance"] == 0.9
        assert panel["p"] == 0.5


def test_the_farthest_plates_come_first_and_the_rest_are_counted(scored, make_entry):
    plates = [make_entry(f"p{n}", "shifted", 2 + n / 10) for n in range(MAX_PLATES + 5)]
    plates.append(make_entry("last", "cannot tell"))
    summary = summary_of(scored(plates))
    assert summary["plates"][0]["plate"] == f"p{MAX_PLATES + 4}"
    assert (len(summary["plates"]), summary["plates_left_out"]) == (MAX_PLATES, 6)
    assert summary["maps"][0]["plate"] == f"plate p{MAX_PLATES + 4}"


def test_the_estimators_record_names_the_chosen_one_and_ends_with_the_baseline(scored):
    record = summary_of(scored())["record"]
    assert [split["truth"] for split in record["splits"]] == [4.1, 5.2, 17.9, 12.3]
    assert [row["chosen"] for row in record["rows"]] == [True, False, False]
    assert [row["baseline"] for row in record["rows"]] == [False, False, True]
    assert record["rows"][0]["splits"][2]["off"] == "0.7 too low"
    assert record["rows"][1]["splits"][2]["off"] == "1.9 too high"
    assert [row["here"] for row in record["rows"]] == [6.4, 6.4, 4.1]
    assert record["rows"][1]["blind_to"] == "what confidence does not see"


def test_classes_and_splits_are_those_of_drift_json(scored):
    drift, pictures = scored()
    splits = drift["dataset"]["splits"]
    drift["dataset"]["classes"][2] |= {"name": "Centrosome", "short": "CTR"}
    drift["dataset"]["splits"] = [splits[0], splits[3] | {"title": "Other lab", "meaning": "Oslo"}]
    summary = summarise(drift, pictures)
    assert [group["name"] for group in summary["cells"]][1] == "Centrosome"
    assert summary["shares"][2]["name"] == "Centrosome" == summary["class_names"][2]
    assert summary["maps"][0]["wells"][0]["short"] in ("ER", "CTR")
    assert [row["title"] for row in summary["comparison"][0]["rows"]] == [
        "This plate", "Training", "Other lab",
    ]  # fmt: skip
    assert [(row["split"], row["meaning"]) for row in summary["errors"]][1] == ("Other lab", "Oslo")
    assert [split["key"] for split in summary["record"]["splits"]] == ["near1"]


def test_recalls_are_those_of_the_classes_held_to_be_on_the_plate(scored):
    rows = summary_of(scored())["error"]["recalls"]
    assert [row["title"] for row in rows] == [CLASSES[0], CLASSES[2]]
    assert rows[0]["words"] == "94\xa0% (90 to 97\xa0%)"
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]


def test_classes_whose_recall_cannot_be_told_stay_in_the_list_with_the_reason(scored):
    drift, pictures = scored()
    drift["error"] |= {"answer": "at least", "high": None, "untold": [2]}
    for key in ("recalls", "recall_highs"):
        drift["error"][key][2] = None
    drift["error"]["recall_lows"] = [None] * 7
    error = summarise(drift, pictures)["error"]
    assert [row["words"] for row in error["recalls"]] == [
        "at most 97\xa0% (best guess 94\xa0%)", "cannot tell",
    ]  # fmt: skip
    assert error["untold"].startswith("Cannot tell for Golgi: more than a quarter")
    page, text = render(summarise(drift, pictures)), render_markdown(summarise(drift, pictures))
    assert error["untold"] in page and error["untold"] in " ".join(text.split())


def test_what_the_verdict_can_find_is_said_in_both_pages(scored):
    drift, pictures = scored()
    summary = summarise(drift, pictures)
    words = (
        "Of the model's own 20 Training plates, each compared with the others, 1 would be called "
        "shifted. A plate like those of Test1 would be called shifted hardly ever, one like Test3 "
        "about 9 times in 10, one like Test4 nearly always."
    )
    assert " ".join(summary["sensitivity"]) == words
    assert words.replace("'", "&#39;") in render(summary)
    assert words in " ".join(render_markdown(summary).split())
    drift["reference"]["sensitivity"] = {"alarms": None, "of": 3, "found": {}}
    assert "can find" not in render(summarise(drift, pictures))


def test_wells_like_no_class_are_named_with_their_map(scored, make_entry):
    summary = summary_of(scored([make_entry(verdict="shifted") | {"odd_wells": ["B02", "P24"]}]))
    assert "2 of 4 wells look like none of the classes: <bdi>B02</bdi>, <bdi>P24</bdi>." in (
        render(summary)
    )
    text = " ".join(render_markdown(summary).split())
    assert "2 of 4 wells of plate P7 look like none of the classes: B02, P24." in text


def test_each_class_of_a_lone_judged_plate_has_its_distance(scored, make_entry):
    rows = summary_of(scored([make_entry(verdict="shifted", distance=4.4)]))["by_class"]
    assert [(row["name"], row["score"], row["shifted"]) for row in rows] == [
        (CLASSES[0], 4.4, True), (CLASSES[2], 4.4, True),
    ]  # fmt: skip
    for plates in ([make_entry(verdict="cannot tell")], [make_entry("a"), make_entry("b")]):
        assert summary_of(scored(plates))["by_class"] == []


def test_cells_are_grouped_by_class_and_role(scored):
    classes = summary_of(scored())["cells"]
    assert [group["name"] for group in classes] == ["Endoplasmic Reticulum", "Golgi"]
    roles = {role["role"]: role["cells"] for role in classes[0]["roles"]}
    assert list(roles) == ["typical", "doubtful", "farthest"]
    words = "plate P7, well A01, cell 0, confidence 50%, distance 2.0"
    assert roles["doubtful"][0]["words"] == words
    assert [cell["caption"] for cell in classes[0]["reference"]] == [
        "Training", "Training", "Test3", "Test4",
    ]  # fmt: skip


def test_a_well_finds_its_cells_once_each_and_only_wells_on_a_map_have_any(scored):
    groups = summary_of(scored())["cells"]
    kept = [cell for group in trimmed(groups, {0, 2}, 6, 3) for cell in group["by_well"]]
    assert {cell["well"] for cell in kept} == {0, 2}
    assert len({cell["index"] for cell in kept}) == len(kept) == 6
    assert {cell["well_name"] for cell in kept} == {"A01", "C03"}
    one_each = [cell for group in trimmed(groups, {0, 2}, 6, 1) for cell in group["by_well"]]
    assert len(one_each) == 2
    assert one_each[0]["words"].startswith("most typical of its well, plate P7, well A01")


def test_a_cell_without_a_picture_is_not_shown(scored):
    drift, pictures = scored()
    pictures.cells.clear()
    assert summarise(drift, pictures)["cells"] == []


def test_edge_wells_are_compared_with_inner_ones_by_hand():
    def well(name, row, column, distance, plate="a"):
        return {"plate": plate, "well": name, "row": row, "column": column, "distance": distance,
                "confidence": 0.5, "n_cells": 10 * row}  # fmt: skip

    wells = [well("A05", 1, 5, 3.0), well("C24", 3, 24, 1.0), well("C05", 3, 5, None)]
    assert edge_against_inner(wells) == [
        {
            "plate": "a",
            "edge": {"n_wells": 2, "distance": 2.0, "confidence": 0.5, "n_cells": 20.0},
            "inner": {"n_wells": 1, "distance": None, "confidence": 0.5, "n_cells": 30.0},
        }
    ]
    assert edge_against_inner(wells[:2]) == []
    maybe_96 = [well("A05", 1, 5, 3.0), well("C05", 3, 5, 1.0)]
    assert edge_against_inner(maybe_96) == []


def test_the_edge_of_a_1536_well_plate_is_its_own():
    def well(row, column):
        return {"plate": "a", "row": row, "column": column, "distance": 1.0, "confidence": 0.5,
                "n_cells": 10}  # fmt: skip

    inner, outer = [well(16, 24), well(2, 2)], [well(32, 2), well(5, 48), well(1, 25)]
    (found,) = edge_against_inner([*inner, *outer])
    assert (found["edge"]["n_wells"], found["inner"]["n_wells"]) == (3, 2)


def test_the_page_says_how_well_ids_were_read_and_which_cells_have_none(scored):
    drift, pictures = scored(wells=("r01c02f01", "r01c03f01"))
    drift["left_out"]["nameless"] = 12
    notes = [
        "2 wells read from 2 ids, such as 'r01c02f01' for well A02, field 1.",
        "12 cells without an id of plate or well: left out of the verdict and all figures, but not "
        "of predictions.parquet.",
    ]
    summary = summarise(drift, pictures)
    assert summary["notes"] == notes
    page, text = render(summary), " ".join(render_markdown(summary).split())
    for note in notes:
        assert note.replace("'", "&#39;") in page and note in text


def test_a_file_without_wells_has_no_map_and_no_word_on_wells(scored):
    drift, pictures = scored()
    drift |= {"wells": [], "well_ids": None, "has_well_ids": False}
    summary = summarise(drift, pictures)
    assert summary["maps"] == [] and summary["notes"] == []
    assert 'id="maps"' not in render(summary)


def test_what_moved_is_said_as_a_factor_or_a_difference(scored):
    moves = summary_of(scored())["moves"]
    assert moves["moved"] == ["protein background (1st percentile)"]
    assert [channel["title"] for channel in moves["channels"]] == [
        "protein channel", "nucleus channel", "Both channels",
    ]  # fmt: skip
    assert moves["channels"][0]["rows"][0]["words"] == "×1.8"
    assert moves["channels"][0]["rows"][0]["short"] == "background (1st percentile)"
    assert moves["rows"][-1]["figure"] == "cells per well"
    assert moves["channels"][-1]["rows"][-1]["words"] == "×1.8"
    assert {row["words"][0] for row in moves["rows"]} == {"×", "+"}


def test_effect_sizes_stand_beside_those_of_the_splits(scored):
    effects = summary_of(scored())["effects"]
    titles = [value["title"] for value in effects["rows"][0]["values"]]
    assert titles == ["This plate", "Training", "Test1", "Test2", "Test3", "Test4"]
    assert [v["text"] for v in effects["rows"][1]["values"]] == [
        "0.61", "0.5", "0.54", "0.58", "0.62", "0.66",
    ]  # fmt: skip
    assert effects["rows"][2]["values"][0]["text"] == "–"


def test_effect_sizes_that_could_not_be_had_are_left_open(scored):
    drift, pictures = scored()
    drift["effects"]["reference"]["test4"] = dict.fromkeys(("mmd", "c2st", "energy"))
    drift["effects"]["reference"]["training"]["energy"] = None
    summary = summarise(drift, pictures)
    assert summary["effects"]["rows"][0]["values"][-1]["text"] == "–"
    assert "–</td>" in render(summary)


def test_errors_by_split_leave_unknown_recalls_open(scored):
    rows = summary_of(scored())["errors"]
    assert [row["split"] for row in rows] == ["Training", "Test1", "Test2", "Test3", "Test4"]
    assert rows[2]["recalls"][:2] == [0.7, None]
    assert "fit on the other plates" in rows[0]["meaning"]


@pytest.mark.parametrize("how", LEFT_OUT)
def test_how_training_was_predicted_is_said(scored, how):
    drift, pictures = scored()
    drift["reference"]["training_predictions"] = how
    summary = summarise(drift, pictures)
    assert summary["errors"][0]["meaning"] == LEFT_OUT[how]
    assert LEFT_OUT[how] in " ".join(render_markdown(summary).split())


def test_provenance_is_flat_text_and_tells_the_command(scored):
    drift, pictures = scored()
    rows = summary_of((drift | {"command": "coos-score x\0"}, pictures))["provenance"]
    assert rows[:2] == [("plate file: name", "new_plate.h5"), ("plate file: sha256", "ab" * 32)]
    assert rows[-1] == ("command", "coos-score x\N{REPLACEMENT CHARACTER}")
    assert not any("seconds" in name for name, _ in rows)


def test_names_are_made_fit_for_a_page():
    assert shown("a\0b\u202ec") == "a�b�c"
    assert shown("x" * 10_000) == "x" * 39 + "…"
    assert shown("לוחית") == "לוחית"
