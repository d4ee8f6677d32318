"""PCI's task: every cell of every epoch, and pairs of one imaging of a well."""

import numpy as np
import pytest
import torch

from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.representations import create
from coos_mlflow.representations.nn.inpainting import Inpainting
from coos_mlflow.representations.nn.training import TrainingContext

TINY = {"width": 0.02, "learning_rate": 1e-3, "least_cells": 2, "precision": "fp32"}


def cells_of(images, **known):
    n = len(images)
    return CellBatch(0, images, plates=np.full(n, "59"), wells=np.full(n, "B03"), **known)


@pytest.mark.parametrize(
    ("epochs", "batch", "iterations"),
    [
        (4, 8, 5),  # 4 x 10 cells are 5 batches
        (3, 8, 4),  # 30 cells are 3 batches and 6 cells, which two of one more epoch join
        (3, 64, 3),  # a batch is all ten cells
    ],
)
def test_epochs_are_passes_over_all_cells(
    random_cells, monkeypatch, tmp_path, epochs, batch, iterations
):
    drawn = []
    draw = Inpainting.draw

    def noted(self, rows, rng):
        drawn.append(rows)
        return draw(self, rows, rng)

    monkeypatch.setattr(Inpainting, "draw", noted)
    pci = create("pci", epochs=epochs, batch=batch, **TINY)
    pci.fit(cells_of(random_cells(10)), TrainingContext(tmp_path))
    assert pci.training_summary["iterations"] == len(drawn) == iterations
    np.testing.assert_array_equal(
        np.bincount(np.concatenate(drawn)[: 10 * epochs]), np.full(10, epochs)
    )


@pytest.mark.parametrize("column", ["dates", "microscopes"])
def test_pairs_are_of_one_day_and_one_microscope_where_the_file_names_them(random_cells, column):
    images = random_cells(12)
    ids = np.resize(["first", "second"], 12)
    images[ids == "second", :, :2] = images.max()  # two bright rows tell them apart
    task = create("pci", **TINY).training_task(
        cells_of(images, **{column: ids}), torch.device("cpu")
    )
    rows = np.tile(np.arange(12), 20)
    for cells in task.draw(rows, np.random.default_rng(0)):
        bright = (cells == 1).flatten(1).sum(dim=1) >= 2 * 2 * 64
        np.testing.assert_array_equal(bright, ids[rows] == "second")
