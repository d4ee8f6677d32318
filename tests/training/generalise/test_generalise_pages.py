"""What the pages and files of the comparison say."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from generalise_rows import entry_of, line_of

from coos_mlflow.training.generalise.files import FILES, write
from coos_mlflow.training.generalise.summary import ONE_WORLD, SEES_PLATES, summarise
from coos_mlflow.training.table3.rows import Entry

SHARES = {"training": 0.02, "test1": 0.1, "test2": 0.1, "test3": 0.2, "test4": 0.3}
WORSE = {split: share + 0.2 for split, share in SHARES.items()}


@pytest.fixture
def entries() -> list[Entry]:
    """The paper's kNN and L1 LR, and two others, of which one cannot be compared."""
    return [
        entry_of("texture-knn", WORSE, left_out_error=9, left_out_well_error=4),
        entry_of("texture-lr", SHARES, left_out_error=5),
        entry_of("texture-new", SHARES, left_out_error=4),
        entry_of("texture-taught", SHARES, left_out_error=0.2, left_out_by="cells"),
    ]


def cells_of(summary: dict, section: str, key: str) -> list[str]:
    (row,) = [row for row in summary["rows"] if row["key"] == key]
    return [cell["text"] for cell in row["cells"][section]]


def test_the_marks_are_of_left_out_plates(make_comparison, entries):
    rows = summarise(make_comparison(entries))["rows"]
    marks = {row["key"]: row["marks"] for row in rows}
    assert marks["texture-lr"] == ["reference"] and marks["texture-new"] == ["champion"]
    assert marks["texture-knn"] == marks["texture-taught"] == []
    assert [row["key"] for row in rows if row["opens"]] == ["texture-new"]


def test_an_error_that_cannot_be_compared_is_in_brackets(make_comparison, entries):
    summary = summarise(make_comparison(entries))
    assert cells_of(summary, "cells", "texture-taught")[0] == "(0.2)"
    assert cells_of(summary, "cells", "texture-new")[0] == "4.0"
    assert cells_of(summary, "wells", "texture-knn")[0] == "4.0"
    assert cells_of(summary, "wells", "texture-new")[0] == "-"


def test_errors_of_cells_and_wells_stand_beside_each_other(make_comparison, entries):
    summary, evaluations = summarise(make_comparison(entries)), entries[0].rows[0].evaluations
    cells = [f"{one.balanced_error:.1f}" for one in evaluations.values()]
    wells = [f"{one.well_error:.1f}" for one in evaluations.values()]
    assert cells_of(summary, "cells", "texture-knn")[1:] == cells
    assert cells_of(summary, "wells", "texture-knn")[1:] == wells != cells


def test_a_difference_is_bold_where_its_interval_does_not_hold_0(make_comparison, entries):
    summary = summarise(make_comparison(entries))
    (row,) = [row for row in summary["rows"] if row["key"] == "texture-knn"]
    for cell in row["cells"]["differences"]:
        low, high = (float(end) for end in cell["small"].split(" to "))
        assert cell["bold"] and 0 < low < float(cell["text"]) < high
        assert float(cell["text"]) == pytest.approx(20, abs=4)
    assert cells_of(summary, "differences", "texture-lr") == ["0"] * 4
    (same,) = [row for row in summary["rows"] if row["key"] == "texture-new"]
    assert all(cell["text"] == "0.0" and not cell["bold"] for cell in same["cells"]["differences"])


def test_without_a_row_of_the_paper_there_is_no_difference(make_comparison, entries):
    summary = summarise(make_comparison(entries[2:]))
    assert cells_of(summary, "differences", "texture-new") == ["-"] * 4


def test_several_seeds_have_a_mean_and_a_deviation(make_comparison):
    comparison = make_comparison([entry_of("texture-lr", SHARES, 3, left_out_error=5)], seeds=3)
    summary = summarise(comparison)
    assert "n = 3 seeds (0, 1, 2)" in summary["intro"]
    assert all(" ± " in text for text in cells_of(summary, "cells", "texture-lr")[1:])


def test_simulated_results_say_what_they_cannot_show(make_comparison, entries):
    simulated = summarise(make_comparison(entries))
    assert ONE_WORLD in simulated["simulated"] and "Simulated" in simulated["caption"]
    keys = [section["key"] for section in simulated["sections"]]
    assert keys == ["cells", "wells", "differences", "worlds", "world-differences", "costs"]
    real = summarise(make_comparison(entries, simulated=False))
    assert real["simulated"] == "" and "COOS-7" in real["caption"]
    assert not {"worlds", "world-differences"} & {section["key"] for section in real["sections"]}


def test_costs_that_are_not_known_are_a_dash(make_comparison, entries):
    summary = summarise(make_comparison(entries))
    assert cells_of(summary, "costs", "texture-lr") == ["1.2", "-", "1,234"]


def test_the_files_hold_every_number(make_comparison, entries, tmp_path):
    missing = Entry(line_of("texture-rf"), missing="weights missing: coos weights x")
    write(make_comparison([*entries[:2], missing, *entries[2:]]), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == set(FILES)
    rows = list(csv.DictReader((tmp_path / "generalise.csv").read_text().splitlines()))
    assert {row["row"] for row in rows} == {entry.line.key for entry in entries}
    assert {row["set"] for row in rows} == {"left out", *SHARES, "wild"}
    assert {row["level"] for row in rows} == {"cells", "wells"}
    assert {row["simulated"] for row in rows} == {"True"}
    (one,) = [
        row
        for row in rows
        if (row["row"], row["set"], row["level"]) == ("texture-knn", "test3", "cells")
    ]
    found = entries[0].rows[0].evaluations["test3"]
    assert float(one["error"]) == pytest.approx(found.balanced_error, rel=1e-5)
    assert float(one["low"]) < float(one["difference"]) < float(one["high"])
    assert one["plates"] == "12" and one["chosen_as"] == "" and one["comparable"] == "True"
    for name in ("generalise.md", "generalise.html"):
        text = (tmp_path / name).read_text()
        assert "no figure here says anything about a real microscope" in " ".join(text.split())
        assert "weights missing: coos weights x" in text
    assert "Not in the paper" in (tmp_path / "generalise.html").read_text()


def test_the_same_comparison_makes_the_same_bytes(make_comparison, entries, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(make_comparison(entries), tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_rows_that_look_at_whole_plates_say_so(make_comparison, entries):
    plain = summarise(make_comparison(entries))
    assert SEES_PLATES not in plain["marks"]
    line = replace(entries[2].line, kind="plates")
    with_plates = summarise(make_comparison([*entries[:2], Entry(line, entries[2].rows)]))
    assert SEES_PLATES in with_plates["marks"]
    assert [row["model"].endswith("†") for row in with_plates["rows"]] == [False, False, True]


def test_errors_of_wells_have_their_difference_beside_them(make_comparison, entries):
    (row,) = [
        row for row in summarise(make_comparison(entries))["rows"] if row["key"] == "texture-knn"
    ]
    left_out, training, *tests = row["cells"]["wells"]
    assert left_out["small"] == training["small"] == ""
    found, other = (entry.rows[0].evaluations["test4"].well_error for entry in entries[:2])
    assert tests[-1]["small"].startswith(f"{found - other:+.1f} (")
    assert tests[-1]["bold"]
