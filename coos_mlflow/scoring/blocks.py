"""Turn blocks of cells into parts: read, prepare, represent and classify in parallel threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from coos_mlflow._utils.prefetch import prefetch
from coos_mlflow._utils.timings import Timings
from coos_mlflow.drift.example_cells import ExamplePicker
from coos_mlflow.drift.image_quality import raw_figures
from coos_mlflow.model.cell_model import CellModel, CellScores
from coos_mlflow.plates.copies import cell_digests
from coos_mlflow.plates.flags import USABLE, FlagCounter, with_stand_ins
from coos_mlflow.plates.reader import Plate
from coos_mlflow.plates.schema import CellBatch, Origins
from coos_mlflow.scoring.job import Block
from coos_mlflow.scoring.parts import Part
from coos_mlflow.scoring.predictions import BATCH


def score_blocks(
    model: CellModel,
    plate: Plate,
    blocks: Sequence[Block],
    advance: Callable[[int], None] = lambda n: None,
    timings: Timings | None = None,
) -> Iterator[Part]:
    """Score some blocks of a plate.

    A part is the same to the last bit, no matter which other blocks are scored in the same call.

    Parameters
    ----------
    model : CellModel
        Its representation prepared (`Representation.prepare`).
    plate : Plate
    blocks : sequence of Block
    advance : callable
        Called with the number of cells scored since its last call.
    timings : Timings, optional
        Gets the times of the stages.

    Yields
    ------
    Part
        One for each block, in their order.

    Raises
    ------
    DataError
        For cells that cannot be read, and for too many unusable cells.
    """
    timings = timings or Timings()
    with closing(_scored(model, plate, blocks, timings)) as scored:
        for block in blocks:
            yield _part(model, plate, block, scored, advance, timings)


def _scored(
    model: CellModel, plate: Plate, blocks: Sequence[Block], timings: Timings
) -> Generator[tuple[CellBatch, CellScores]]:
    """Read, preprocess, represent and classify the cells of blocks, each step in its own thread."""
    representation = model.representation
    steps: dict[str, Callable[[Any], Any]] = {
        "prepare": representation.preprocess,
        "represent": lambda prepared: representation.compute(prepared, model.layers),
        "classify": model.classify,
    }
    computed = prefetch(timings.timed("read", _usable(plate, blocks)))
    for title, step in steps.items():
        computed = prefetch(_applied(title, step, computed, timings))
    return computed


def _usable(plate: Plate, blocks: Sequence[Block]) -> Iterator[tuple[CellBatch, Any]]:
    """Read blocks; in each batch, replace the images of unusable cells by stand-ins.

    Stop with an error as soon as too many cells are unusable.
    """
    counter = FlagCounter(plate.n_cells, f"{plate.path}:/data")
    for block in blocks:
        for batch in plate.batches(BATCH, *block, keep_unusable=True):
            counter.add(batch.flags, batch)
            yield batch, with_stand_ins(batch.images, batch.flags)


def _applied(
    title: str,
    step: Callable[[Any], Any],
    computed: Generator[tuple[CellBatch, Any]],
    timings: Timings,
) -> Iterator[tuple[CellBatch, Any]]:
    with closing(computed):
        for batch, so_far in computed:
            with timings.stage(title):
                result = step(so_far)
            yield batch, result


def _part(
    model: CellModel,
    plate: Plate,
    block: Block,
    scored: Iterator[tuple[CellBatch, CellScores]],
    advance: Callable[[int], None],
    timings: Timings,
) -> Part:
    """Collect the scores of a block, and the raw counts of its candidates for the report.

    The report's cells are chosen among the candidates of all blocks, so that no image has to be
    read again.
    """
    columns: list[tuple[np.ndarray, ...]] = []
    examples = ExamplePicker(model.dataset.n_classes)
    reached = block.start
    while reached < block.stop:
        batch, scores = next(scored)
        with timings.stage("collect"):
            novelty = model.reference.novelty(scores.features, scores.labels)
            origins = plate.origins(reached, reached + len(batch))
            _pick(examples, origins, batch, scores.probabilities, novelty)
            columns.append(_columns(batch, scores, novelty))
        reached += len(batch)
        advance(len(batch))
    thumbnails = {
        index - block.start: thumbnail for index, thumbnail in examples.thumbnails().items()
    }
    probabilities, features, raw, novelties, flags, digests, axes = map(
        np.concatenate, zip(*columns, strict=True)
    )
    return Part(block, probabilities, features, raw, novelties, flags, digests, axes, thumbnails)


def _pick(
    examples: ExamplePicker,
    origins: Origins,
    batch: CellBatch,
    probabilities: np.ndarray,
    novelty: np.ndarray,
) -> None:
    usable = np.flatnonzero(batch.flags == USABLE)
    images = batch.images[usable]
    # Copies, so that the memory of the rest of the batch can be freed.
    examples.add(
        origins.select(usable),
        probabilities[usable],
        novelty[usable],
        lambda row: images[row].copy(),
    )


def _columns(batch: CellBatch, scores: CellScores, novelty: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the columns of `Part` for some cells, NaN for unusable ones."""
    raw = raw_figures(with_stand_ins(batch.images, batch.flags))
    figures = (scores.probabilities, scores.features, raw, novelty)
    for values in (*figures, scores.plate_axes):
        values[batch.flags != USABLE] = np.nan
    return (*figures, batch.flags, cell_digests(batch.images), scores.plate_axes)
