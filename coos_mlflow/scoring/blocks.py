"""From the cells of a plate to parts: read, prepare, represent, classify, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from coos_mlflow._utils.pipeline import Pipeline, Stage
from coos_mlflow._utils.timings import Timings
from coos_mlflow.drift.example_cells import ExamplePicker
from coos_mlflow.drift.image_quality import raw_figures
from coos_mlflow.model.pyfunc import CellClassifier, CellScores
from coos_mlflow.plates.copies import cell_digests
from coos_mlflow.plates.flags import USABLE, FlagCounter, with_stand_ins
from coos_mlflow.plates.reader import Plate
from coos_mlflow.plates.schema import CellBatch
from coos_mlflow.scoring.job import Block
from coos_mlflow.scoring.parts import Part
from coos_mlflow.scoring.predictions import BATCH


@dataclass(frozen=True)
class _Prepared:
    batch: CellBatch
    images: np.ndarray
    raw: np.ndarray


@dataclass(frozen=True)
class _Represented:
    batch: CellBatch
    raw: np.ndarray
    found: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Answered:
    batch: CellBatch
    raw: np.ndarray
    scores: CellScores
    novelty: np.ndarray


def answer(
    classifier: CellClassifier,
    plate: Plate,
    blocks: Sequence[Block],
    advance: Callable[[int], None] = lambda n: None,
    timings: Timings | None = None,
) -> Iterator[Part]:
    """Let a model answer for some blocks of a plate.

    The parts are the same, to the last bit, whichever blocks are asked for together.

    Parameters
    ----------
    classifier : CellClassifier
        Its representation prepared (`Representation.prepare`).
    plate : Plate
    blocks : sequence of Block
    advance : callable
        Told the cells that were answered since its last call.
    timings : Timings, optional
        Gets the times of the stages.

    Yields
    ------
    Part
        One for each block, in their order.

    Raises
    ------
    DataError
        For cells that cannot be read, and for more unusable cells than a plate may have.
    """
    batches = _batches(plate, blocks)
    stages = [
        Stage("prepare", lambda batch: _prepare(classifier, batch)),
        Stage("represent", lambda prepared: _represent(classifier, prepared)),
        Stage("classify", lambda represented: _classify(classifier, represented)),
    ]
    with Pipeline("read", batches, stages) as pipeline:
        if timings:
            timings.stages = pipeline.times
        answers = iter(pipeline)
        for block in blocks:
            yield _part(plate, block, answers, advance)


def _batches(plate: Plate, blocks: Sequence[Block]) -> Iterator[CellBatch]:
    """Read blocks, and stop as soon as too many of their cells are unusable."""
    counter = FlagCounter(plate.n_cells, f"{plate.path}:/data")
    for block in blocks:
        for batch in plate.batches(BATCH, *block, keep_unusable=True):
            counter.add(batch.flags, batch)
            yield batch


def _prepare(classifier: CellClassifier, batch: CellBatch) -> _Prepared:
    usable = with_stand_ins(batch.images, batch.flags)
    images = classifier.representation.preprocess(usable)
    return _Prepared(batch, images, raw_figures(usable))


def _represent(classifier: CellClassifier, prepared: _Prepared) -> _Represented:
    found = classifier.representation.compute(prepared.images, classifier.layers)
    return _Represented(prepared.batch, prepared.raw, found)


def _classify(classifier: CellClassifier, represented: _Represented) -> _Answered:
    scores = classifier.answers(represented.found)
    novelty = classifier.reference.novelty(scores.features, scores.labels)
    return _Answered(represented.batch, represented.raw, scores, novelty)


def _part(
    plate: Plate, block: Block, answers: Iterator[_Answered], advance: Callable[[int], None]
) -> Part:
    """Take the answers for a block, and the counts of the cells that stand out in it."""
    columns: list[tuple[np.ndarray, ...]] = []
    examples = ExamplePicker()
    reached = block.start
    while reached < block.stop:
        answered = next(answers)
        images, flags = answered.batch.images, answered.batch.flags
        scores, raw = answered.scores, answered.raw
        usable = np.flatnonzero(flags == USABLE)
        # Copies, so that the other counts of the batch can go.
        examples.add(
            plate.origins(reached, reached + len(images)).select(usable),
            scores.probabilities[usable],
            answered.novelty[usable],
            lambda row, images=images[usable]: images[row].copy(),  # type: ignore[misc]
        )
        for values in (scores.probabilities, scores.features, raw):
            values[flags != USABLE] = np.nan
        digests = cell_digests(images)
        columns.append((scores.probabilities, scores.features, raw, flags, digests))
        reached += len(images)
        advance(len(images))
    thumbnails = {
        index - block.start: thumbnail for index, thumbnail in examples.thumbnails().items()
    }
    probabilities, features, raw, flags, digests = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    return Part(block, probabilities, features, raw, flags, digests, thumbnails)
