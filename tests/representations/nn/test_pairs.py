"""Pairs: two different cells of one well, every other cell of it equally likely."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from coos_mlflow.errors import DataError
from coos_mlflow.representations.nn.pairs import Pairs

PLATES = np.array(["59", "109", "109x"])
WELLS = np.array(["002003000", "002003001", "B03", "005003000", "Q99"])
NAMES = np.array(["B03", "B03", "B03", "E03", "Q99"])
"""What the wells above are called: of the first, two fields and another spelling."""

cells = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=80)


def pairs_of(places, least_cells):
    plate, well = np.array(places).T
    return Pairs(PLATES[plate], WELLS[well], least_cells), PLATES[plate], NAMES[well]


@given(cells, st.integers(2, 6), st.integers(0, 2**32))
def test_a_partner_is_another_cell_of_the_same_well_of_the_same_plate(places, least, seed):
    plate, well = np.array(places).T
    held = Counter(zip(PLATES[plate], NAMES[well], strict=True))
    if max(held.values()) < least:
        with pytest.raises(DataError, match=f"holds {max(held.values())} cells"):
            pairs_of(places, least)
        return
    pairs, plates, wells = pairs_of(places, least)
    enough = [held[key] >= least for key in zip(plates, wells, strict=True)]
    np.testing.assert_array_equal(pairs.cells, np.flatnonzero(enough))
    rows = np.random.default_rng(seed).integers(0, len(pairs), 50)
    partners = pairs.partners(rows, np.random.default_rng(seed))
    mine, other = pairs.cells[rows], pairs.cells[partners]
    assert (mine != other).all()
    assert (plates[mine] == plates[other]).all()
    assert (wells[mine] == wells[other]).all()


def test_every_other_cell_of_a_well_is_drawn_equally_often():
    places = [(p, w) for p in (0, 1) for w in (0, 3) for _ in range(3 + 2 * p + w)]
    order = np.random.default_rng(0).permutation(len(places))
    pairs, plates, wells = pairs_of([places[i] for i in order], least_cells=2)
    for row in range(len(pairs)):
        rows = np.full(4000, row)
        drawn = np.bincount(pairs.partners(rows, np.random.default_rng(row)), minlength=len(pairs))
        others = (plates == plates[row]) & (wells == wells[row])
        others[row] = False
        assert drawn[~others].sum() == 0
        assert chisquare(drawn[others]).pvalue > 1e-5


def test_the_generator_decides_the_partners():
    pairs, _, _ = pairs_of([(0, 0)] * 50, least_cells=30)
    first, again, other = (
        pairs.partners(np.arange(50), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_too_small_wells_are_refused_with_the_largest_and_what_to_lower():
    with pytest.raises(DataError, match=r"largest of the 2 wells .* holds 4 cells.*lower least"):
        pairs_of([(0, 0)] * 4 + [(1, 0)] * 3, least_cells=30)


@pytest.mark.parametrize("differ", ["dates", "microscopes"])
def test_cells_of_a_well_imaged_on_two_days_or_microscopes_are_never_paired(differ):
    ids = np.resize(["2017-05-12", "2017-09-01"], 40)
    pairs = Pairs(np.full(40, "59"), np.full(40, "B03"), 20, **{differ: ids})
    rows = np.tile(np.arange(40), 50)
    partners = pairs.partners(rows, np.random.default_rng(0))
    assert (ids[rows] == ids[partners]).all()
    # Either day has 20 cells, which are too few where 21 are asked for.
    with pytest.raises(DataError, match=r"largest of the 2 wells .* holds 20 cells"):
        Pairs(np.full(40, "59"), np.full(40, "B03"), 21, **{differ: ids})


def test_one_date_and_one_microscope_change_no_pair():
    plain = Pairs(np.full(9, "59"), np.full(9, "B03"), 2)
    with_constant_ids = Pairs(
        np.full(9, "59"), np.full(9, "B03"), 2, np.full(9, "x"), np.full(9, "y")
    )
    for pairs in (plain, with_constant_ids):
        np.testing.assert_array_equal(pairs.cells, np.arange(9))
    rows = np.arange(9)
    found = [pairs.partners(rows, np.random.default_rng(0)) for pairs in (plain, with_constant_ids)]
    np.testing.assert_array_equal(*found)
