"""The choice among remedies is honest: left-out wells decide, and nothing wins where none helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from coos_mlflow.labelling.adapt import choice
from coos_mlflow.labelling.adapt.cells import corrected
from coos_mlflow.labelling.adapt.choice import choose, fit, in_one_well, judged
from coos_mlflow.labelling.adapt.remedies import remedies


@pytest.fixture(autouse=True)
def few_folds(monkeypatch):
    monkeypatch.setattr(choice, "FOLDS", 4)
    monkeypatch.setattr(choice, "INNER_FOLDS", 3)


def gain(model, cells, controls=None):
    return choose(model, cells, controls).gain


def error(probabilities, truths) -> float:
    wrong = probabilities.argmax(axis=1) != truths
    return 100 * np.mean([wrong[truths == label].mean() for label in np.unique(truths)])


def test_on_a_moved_plate_a_remedy_is_chosen_and_gains_what_it_says(world):
    cells, others = world.plate(100, 1, shift=1.5), world.plate(5000, 2, shift=1.5)
    found = choose(world.model, cells)
    assert found.chosen in found.trials
    assert {trial.key for trial in found.trials} == set(remedies())
    correction = fit(world.model, found.chosen, cells)
    before, after = error(others.probabilities, others.truths), error(
        corrected(world.model, correction, others), others.truths
    )  # fmt: skip
    assert after < 0.75 * before
    said = found.gain
    assert said.before.low < before < said.before.high
    assert said.after.low < after < said.after.high
    assert said.change.low < after - before < said.change.high
    assert said.change.value == pytest.approx(said.after.value - said.before.value)


def test_nothing_is_chosen_where_the_model_is_right(world):
    assert choose(world.model, world.plate(70, 3)).chosen is None


def test_labels_at_random_do_not_look_like_a_gain(world):
    cells = world.plate(70, 4)
    mixed = replace(cells, truths=np.random.default_rng(0).permutation(cells.truths))
    said = gain(world.model, mixed)
    assert said.change.high > -5


def test_the_weights_of_cells_count(world):
    cells = world.plate(70, 5, shift=1.0)
    wrong = cells.probabilities.argmax(axis=1) != cells.truths
    heavy = replace(cells, weights=np.where(wrong, 4.0, 1.0))
    assert gain(world.model, heavy).before.value > gain(world.model, cells).before.value + 5


def test_the_figure_before_is_the_weighted_balanced_error(world):
    cells = world.plate(84, 6, shift=1.0)
    assert gain(world.model, cells).before.value == pytest.approx(
        error(cells.probabilities, cells.truths)
    )


def test_a_class_with_one_cell_teaches_and_is_not_judged(world):
    cells = world.plate(60, 7, shift=1.0, classes=(1, 2))
    alone = world.plate(1, 8, shift=1.0, classes=(5,))
    both = type(cells)(
        *(
            np.concatenate([a, b])
            for a, b in zip(vars(cells).values(), vars(alone).values(), strict=True)
        )
    )
    assert judged(both).tolist() == [True] * 60 + [False]
    assert gain(world.model, both).before.value == pytest.approx(
        gain(world.model, cells).before.value
    )


def test_a_class_in_a_single_well_is_judged_by_its_cells(world):
    cells = world.plate(60, 9, shift=1.0, classes=(1, 2))
    one = replace(cells, wells=np.where(cells.truths == 2, 99, cells.wells))
    assert in_one_well(cells).tolist() == [] and in_one_well(one).tolist() == [2]
    folds = choice._by_well(one, 4)
    for taught, held in folds:
        assert set(one.truths[taught]) == {1, 2}
        shared = set(one.wells[taught]) & set(one.wells[held])
        assert shared <= {99}
    assert choose(world.model, one).chosen is not None


def test_no_well_is_in_two_folds(world):
    cells = world.plate(80, 10)
    for taught, held in choice._by_well(cells, 5):
        assert not set(cells.wells[taught]) & set(cells.wells[held])


def test_one_cell_of_each_class_chooses_nothing(world):
    cells = world.plate(7, 11)
    assert choose(world.model, cells).chosen is None and gain(world.model, cells) is None


def test_control_wells_teach_and_are_not_judged(world):
    cells = world.plate(42, 12, shift=1.5)
    controls = world.plate(140, 13, shift=1.5)
    lies = replace(controls, truths=(controls.truths + 1) % 7)
    given = (None, controls, lies)
    alone, taught, lied = (gain(world.model, cells, known).before for known in given)
    assert alone == taught == lied
    loss = [choice.ranked(world.model, cells, known)[0].loss for known in given]
    assert loss[1] < loss[0] < loss[2]


def test_a_network_without_a_classifier_has_no_offset(world):
    found = choose(replace(world.model, classifier=None), world.plate(40, 14, shift=1.0))
    assert {trial.key for trial in found.trials} == {"class_weights", "last_layer"}
