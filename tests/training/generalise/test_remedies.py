"""Which rows differ by a remedy alone, and what it changes."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest
from generalise_rows import entry_of

from coos_mlflow.classifiers.kinds import kinds
from coos_mlflow.representations import class_of, names
from coos_mlflow.training.generalise.files import REMEDIES, write
from coos_mlflow.training.generalise.remedies import remedies
from coos_mlflow.training.generalise.rows import all_lines
from coos_mlflow.training.generalise.summary import summarise
from coos_mlflow.training.table3.rows import Entry

SHARES = {"training": 0.02, "test1": 0.1, "test2": 0.1, "test3": 0.2, "test4": 0.3}


def filled(*keys: str, shares: dict[str, float] | None = None) -> list[Entry]:
    """Return entries of real rows, filled with made-up errors."""
    by_key = {line.key: line for line in all_lines("quick")}
    rows = entry_of("texture-lr", shares or SHARES, left_out_error=5).rows
    return [Entry(by_key[key], rows) for key in keys]


def pairs_of(entries: list[Entry]) -> dict[str, list[tuple[str, str]]]:
    return {
        remedy.title: [(one.line.key, other.line.key) for one, other in remedy.pairs]
        for remedy in remedies(entries)
    }


def test_a_kind_is_compared_with_the_papers_on_the_same_features():
    entries = filled(
        *("texture-lr", "texture-rf", "pci-conv5-lr", "texture-plates", "pci-conv5-plates"),
        "texture-rf_even",
    )
    assert pairs_of(entries) == {
        "Plate effects instead of L1 LR": [
            ("texture-plates", "texture-lr"),
            ("pci-conv5-plates", "pci-conv5-lr"),
        ],
        "RF, even plates instead of RF": [("texture-rf_even", "texture-rf")],
    }


def test_a_variant_is_compared_with_its_network_and_a_network_with_the_papers():
    entries = filled(
        *("deeploc", "deeploc-fc2-lr", "deeploc-microscope", "deeploc-microscope-fc2-lr"),
        *("resnet", "resnet-pool-lr", "resnet-pool-knn"),
    )
    assert pairs_of(entries) == {
        "DeepLoc, microscope instead of DeepLoc": [
            ("deeploc-microscope", "deeploc"),
            ("deeploc-microscope-fc2-lr", "deeploc-fc2-lr"),
        ],
        "ResNet instead of DeepLoc": [("resnet", "deeploc"), ("resnet-pool-lr", "deeploc-fc2-lr")],
    }


def test_a_representation_is_compared_with_the_last_layer():
    entries = filled("pci-conv3-lr", "pci-conv5-lr", "texture-lr", "fusion-lr")
    assert pairs_of(entries) == {"Fusion instead of Texture": [("fusion-lr", "texture-lr")]}


def test_rows_that_are_not_filled_take_no_part():
    lr, plates = filled("texture-lr", "texture-plates")
    assert remedies([replace(lr, rows=()), plates]) == []


def test_whatever_is_not_of_the_paper_says_what_it_is_to_improve_on():
    theirs = [key for key, kind in kinds().items() if kind.in_paper]
    assert all((kind.instead_of in theirs) != kind.in_paper for kind in kinds().values())
    paper = {line.representation for line in all_lines("quick") if line.published}
    assert all((class_of(key).instead_of in paper) != (key in paper) for key in names())


def test_the_pages_tell_the_mean_change_and_how_far_single_rows_go(make_comparison, tmp_path):
    better = SHARES | {"test3": 0.1}
    entries = [
        *filled("texture-lr", "deeploc-fc2-lr"),
        *filled("texture-plates", shares=better),
        *filled("deeploc-fc2-plates"),
    ]
    comparison = make_comparison(entries)
    of_cells, of_wells = summarise(comparison)["remedies"]
    ((change,), (of_well,)) = of_cells["lines"], of_wells["lines"]
    assert change["rows"] == 2 and len(of_well["cells"]) == len(of_cells["headings"])
    test3 = change["cells"][of_cells["headings"].index("Test3")]
    own, other = (comparison.errors(entries[at], "test3")[0] for at in (2, 0))
    assert float(test3["text"].replace("−", "-")) == pytest.approx((own - other) / 2, abs=0.06)
    assert test3["small"].endswith("to 0.0") and not test3["bold"]
    write(comparison, tmp_path)
    rows = list(csv.DictReader((tmp_path / REMEDIES).read_text().splitlines()))
    (row,) = [
        row
        for row in rows
        if (row["row"], row["set"], row["level"]) == ("texture-plates", "test3", "cells")
    ]
    assert row["without"] == "texture-lr"
    assert float(row["change"]) == pytest.approx(own - other, rel=1e-5)
    for name in ("generalise.md", "generalise.html"):
        assert "Plate effects instead of L1 LR" in (tmp_path / name).read_text()
