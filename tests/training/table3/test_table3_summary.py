"""What is best and what is confused, on cases worked by hand and on the paper's own numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from _coos7 import CLASSES, SPLITS

from coos_mlflow.training.table3.summary import (
    best_errors,
    best_published,
    class_shares,
    common_confusions,
    summarise,
)


def row(*errors: float) -> dict[str, float]:
    return dict(zip(SPLITS, errors, strict=True))


def test_best_is_the_least_of_its_group_on_each_test_split():
    errors = {
        "a1": row(0.0, 2, 3, 4, 5),
        "a2": row(1.0, 1, 9, 9, 9),
        "b1": row(0.0, 8, 8, 8, 8),
    }
    assert best_errors(errors, lambda key: key[0]) == {
        ("a2", "test1"), ("a1", "test2"), ("a1", "test3"), ("a1", "test4"),
        ("b1", "test1"), ("b1", "test2"), ("b1", "test3"), ("b1", "test4"),
    }  # fmt: skip


def test_errors_that_look_alike_are_tied():
    errors = {"a": row(0, 1.14, 1.0, 1.0, 1.0), "b": row(0, 1.06, 1.0, 1.04, 1.06)}
    best = best_errors(errors, lambda key: "")
    assert {("a", "test1"), ("b", "test1"), ("a", "test2"), ("b", "test2")} <= best
    assert {("a", "test3"), ("b", "test3")} <= best
    assert ("a", "test4") in best and ("b", "test4") not in best


def test_the_papers_own_bold_numbers_come_out():
    """Its last logistic regression has 3.9, 3.9 and 8.0 in bold and 6.8 not: Conv4_1 has 6.7."""
    best = best_published()
    last = ("VGG16", "Conv4_2", "L1 LR")
    assert [(last, split) in best for split in SPLITS] == [False, True, True, True, False]
    assert (("VGG16", "Conv4_1", "L1 LR"), "test4") in best
    tied = [model for (f, _, model), split in best if f == "DeepLoc" and split == "test1"]
    assert sorted(tied) == ["L1 LR", "RF"]


def test_confusions_are_named_by_their_share_of_the_true_class():
    confusion = np.diag([90, 880, 100, 100, 50, 10, 10])
    confusion[0, 5] = 10  # 10 % of ER
    confusion[1, 2] = 120  # 12 % of IMM, most cells of all
    confusion[4, 2] = 50  # 50 % of Early Endosome
    named = common_confusions(class_shares(confusion), most=3)
    assert [confusion.words(CLASSES) for confusion in named] == [
        "Early Endosome called Golgi, 50 % of its cells",
        "Inner Mitochondrial Membrane called Golgi, 12 % of its cells",
        "Endoplasmic Reticulum called Cytosol, 10 % of its cells",
    ]


@pytest.mark.parametrize(
    ("wrong", "words"), [(2, "under 0.1 %"), (25, "0.2 %"), (994, "9.9 %"), (996, "10 %")]
)
def test_small_shares_keep_a_decimal(wrong, words):
    confusion = np.diag(np.full(7, 10_000))
    confusion[3, 3], confusion[3, 6] = 10_000 - wrong, wrong
    (named,) = common_confusions(class_shares(confusion))
    assert named.words(CLASSES) == f"Peroxisomes called Nuclear Envelope, {words} of its cells"


def test_classes_without_cells_and_perfect_rows_confuse_nothing():
    confusion = np.diag([5, 0, 5, 5, 5, 5, 0])
    assert common_confusions(class_shares(confusion)) == []


def test_simulated_cells_are_never_compared(make_table):
    summary = summarise(make_table())
    assert summary["caption"].endswith("on Simulated Cells")
    assert (
        "Simulated cells" in summary["simulated"] and "cannot be compared" in summary["simulated"]
    )
    assert [group["title"] for group in summary["groups"]] == [
        "Simulated cells", "COOS-7, published",
    ]  # fmt: skip
    assert all(set(row["cells"]) == {"ours", "published"} for row in summary["rows"])


def test_on_coos7_the_papers_caption_stands_and_differences_are_shown(make_table):
    summary = summarise(make_table(name="COOS-7", simulated=False))
    papers = "Class-Balanced Error (%) of Classification Models on COOS-7 Datasets"
    assert summary["caption"] == papers and summary["simulated"] is None
    assert [group["key"] for group in summary["groups"]] == ["ours", "published", "difference"]
    differences = {c["text"] for row in summary["rows"] for c in row["cells"]["difference"]}
    assert differences == {"+0.5"}


def test_a_difference_of_nothing_has_no_sign(make_table, lines):
    errors = {"deeploc": {s: e + d for (s, e), d in zip(
        lines[0].published.items(), (-0.5, -0.54, -0.46, -1.5, 0.5), strict=True)}}  # fmt: skip
    table = make_table(lines[:1], name="COOS-7", simulated=False, errors=errors)
    (row,) = summarise(table)["rows"]
    assert [cell["text"] for cell in row["cells"]["difference"]] == [
        "0.0", "0.0", "0.0", "\N{MINUS SIGN}1.0", "+1.0",
    ]  # fmt: skip


def test_other_data_are_named_and_not_compared(make_table):
    summary = summarise(make_table(name="mine", simulated=False))
    assert summary["caption"].endswith("on the Data Set mine")
    assert len(summary["groups"]) == 2


def test_ours_is_bold_where_the_errors_are_least(make_table):
    """The fake errors are the paper's and half a point: bold in the same places."""
    for row in summarise(make_table())["rows"]:
        ours, theirs = row["cells"]["ours"], row["cells"]["published"]
        assert [cell["bold"] for cell in ours] == [cell["bold"] for cell in theirs], row["key"]
        assert not ours[0]["bold"]


def test_one_seed_shows_its_interval_and_several_their_spread(make_table, lines):
    one = summarise(make_table(lines[:1]))
    assert one["rows"][0]["cells"]["ours"][1] == {
        "text": "1.7", "small": "1.4–2.0", "bold": True,
    }  # fmt: skip
    assert one["intro"].startswith("Seed 0. Intervals hold 95 %")
    three = summarise(make_table(lines[:1], seeds=(4, 5, 6)))
    assert three["rows"][0]["cells"]["ours"][1]["text"] == "2.7 ± 1.0"
    assert "n = 3 seeds (4, 5, 6)" in three["intro"]


def test_train_of_a_network_that_answers_itself_has_a_footnote(make_table, lines):
    def footnotes(table) -> list[str]:
        return [n for n in summarise(table)["notes"] if "End-to-End" in n and "a fifth" in n]

    assert len(footnotes(make_table(lines[:2]))) == 1
    assert footnotes(make_table(lines[1:])) == []
    assert footnotes(make_table(lines, missing=("deeploc",))) == []


def test_rows_without_weights_keep_the_published_numbers(make_table):
    summary = summarise(make_table(missing=("vgg16",)))
    row = summary["rows"][-1]
    assert row["missing"] == "weights missing: coos weights vgg16"
    assert row["cells"]["ours"] is None
    assert [cell["text"] for cell in row["cells"]["published"]] == [
        "0.2",
        "7.4",
        "7.5",
        "10.2",
        "8.4",
    ]
    assert len(summary["details"]) == 16
    assert "Rows with missing or damaged weights have no result of ours." in summary["notes"]


def test_every_row_and_split_has_confusions_recalls_and_words(make_table):
    details = summarise(make_table())["details"]
    assert len(details) == 25
    for row in details:
        assert [split["split"] for split in row["splits"]] == [
            "Training", "Test1", "Test2", "Test3", "Test4",
        ]  # fmt: skip
    test1 = details[0]["splits"][1]
    assert test1["recalls"] == ["98"] * 7 and test1["error"] == "1.7"
    assert test1["confusion"][2][3] == 17 and test1["shares"][2][2] == pytest.approx(0.983)
    assert test1["words"][0] == "Endoplasmic Reticulum called Peroxisomes, 1.7 % of its cells"


def test_overall_averages_the_shares_over_models(make_table, lines):
    """2 % of one model and 6 % of the other are 4 %."""
    errors = {
        key: dict.fromkeys(SPLITS, e) for key, e in (("texture-knn", 1.5), ("texture-lr", 5.5))
    }
    chosen = [line for line in lines if line.key in errors]
    overall = summarise(make_table(chosen, errors=errors))["overall"]
    assert overall[2]["split"] == "Test2"
    assert overall[2]["words"][0] == "Endoplasmic Reticulum called Peroxisomes, 4.0 % of its cells"


def test_a_table_without_any_row_of_ours_is_still_a_table(make_table):
    summary = summarise(make_table(missing=("deeploc", "texture", "pci", "vgg16")))
    assert (summary["overall"], summary["details"]) == ([], [])
    assert len(summary["rows"]) == 25


def test_the_summary_is_plain(make_table):
    assert json.loads(json.dumps(summarise(make_table())))["headings"] == [
        "Train", "Test1", "Test2", "Test3", "Test4",
    ]  # fmt: skip
