"""A contact sheet of example cells, classes by splits, for inspection by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.plates.dataset import Dataset, coos7
from coos_mlflow.plates.dataset_file import dataset_of_folder
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.splits import find_files

LabelledCells = tuple[np.ndarray, np.ndarray]
"""Images (n, 2, crop, crop) and labels (n,)."""

STRETCH = (0.2, 99.8)
"""Percentiles of an image that are shown as black and white; the paper rescales each image too."""

NUCLEUS_RGB = (0.35, 0.45, 1.0)
PROTEIN_RGB = (0.45, 1.0, 0.35)
"""Colours of the composite: a blue nucleus under a green protein."""

_GAP_PX, _GROUP_GAP_PX = 2, 12
_INCHES_PER_CELL = 0.62


def contact_sheet(
    source: str | Path | Mapping[str, LabelledCells],
    out_png: str | Path,
    *,
    dataset: Dataset | None = None,
    cells_per_split: int = 3,
    composite: bool = False,
    seed: int = 0,
    title: str | None = None,
    force: bool = False,
) -> Path:
    """Draw a few cells of each class and split into a PNG.

    Parameters
    ----------
    source : path or mapping
        The folder of a data set, or simulated images and labels by split.
    out_png : path
    dataset : Dataset or None
        Names and labels of classes, and titles of splits. By default they are those of the folder,
        or of COOS-7 for cells in memory.
    cells_per_split : int
        Cells of one class and split.
    composite : bool
        Show the nucleus in blue under the protein in green; otherwise the protein alone.
    seed : int
        Seed of the random choice of cells.
    title : str or None
        Title; by default "Simulated cells" or "Cells".
    force : bool
        Replace an existing file.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        Where a split has no labels, or too few cells of a class.
    OutputError
        Where the file exists already, or cannot be written.
    """
    if Path(out_png).exists() and not force:
        raise OutputError(f"{out_png}: is there already; --force replaces it.")
    rng = np.random.default_rng(seed)
    simulated = True
    if isinstance(source, Mapping):
        dataset = dataset or coos7()
        picked = {
            split: _pick(*source[split], dataset, cells_per_split, rng, split) for split in source
        }
    else:
        dataset = dataset or dataset_of_folder(Path(source))
        files = find_files(Path(source), dataset)
        picked = {
            split: _read(files[split], dataset, cells_per_split, rng)
            for split in dataset.split_keys
        }
        simulated = all(_is_simulated(path) for paths in files.values() for path in paths)
    title = title or ("Simulated cells" if simulated else "Cells")
    blocks = [_block(images, composite) for images in picked.values()]
    return _draw(blocks, dataset, list(picked), Path(out_png), title, cells_per_split)


def _choose(
    labels: np.ndarray, dataset: Dataset, count: int, rng: np.random.Generator, where: str
) -> np.ndarray:
    """Return indices (classes, count) of randomly chosen cells, class by class."""
    rows = []
    for place, one in enumerate(dataset.classes):
        cells = np.flatnonzero(labels == place)
        if len(cells) < count:
            raise DataError(f"{where}: {len(cells)} cells of {one.name} found, expected {count}.")
        rows.append(rng.choice(cells, count, replace=False))
    return np.array(rows)


def _pick(
    images: np.ndarray,
    labels: np.ndarray,
    dataset: Dataset,
    count: int,
    rng: np.random.Generator,
    where: str,
) -> np.ndarray:
    return images[_choose(labels, dataset, count, rng, where)]


def _read(
    paths: Sequence[Path], dataset: Dataset, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return random cells of a split's files, shape (classes, count, 2, crop, crop).

    Only these cells are read.
    """
    with ExitStack() as stack:
        plates = [stack.enter_context(open_plate(path, dataset)) for path in paths]
        for plate in plates:
            if plate.labels is None:
                raise DataError(
                    f"{plate.path}: no /labels found, expected the classes of the cells."
                )
        labels = np.concatenate([plate.labels for plate in plates if plate.labels is not None])
        chosen = _choose(labels, dataset, count, rng, ", ".join(map(str, paths)))
        ends = np.cumsum([plate.n_cells for plate in plates])
        cells = []
        for cell in chosen.ravel().tolist():
            place = int(np.searchsorted(ends, cell, side="right"))
            plate = plates[place]
            row = cell - int(ends[place]) + plate.n_cells
            cells.append(next(plate.batches(1, row, row + 1)).images[0])
    return np.stack(cells).reshape(*chosen.shape, *cells[0].shape)


def _is_simulated(path: Path) -> bool:
    with open_plate(path, channels=None) as plate:
        return plate.simulated


def stretch(images: np.ndarray) -> np.ndarray:
    """Return images (..., crop, crop), each rescaled to [0, 1] between its percentiles."""
    low, high = np.percentile(images, STRETCH, axis=(-2, -1), keepdims=True)
    return np.clip((images - low) / np.maximum(high - low, 1.0), 0.0, 1.0)


def _block(images: np.ndarray, composite: bool) -> np.ndarray:
    """Return the cells (rows, columns, 2, crop, crop) of one split as one RGB picture."""
    shown = stretch(images.astype(np.float64))
    protein, nucleus = shown[:, :, 0, ..., None], shown[:, :, 1, ..., None]
    colour = protein * PROTEIN_RGB + nucleus * NUCLEUS_RGB if composite else protein * (1, 1, 1)
    pad = ((0, 0), (0, 0), (0, _GAP_PX), (0, _GAP_PX), (0, 0))
    tiles = np.pad(np.clip(colour, 0, 1), pad, constant_values=1.0)
    rows, columns, height, width, _ = tiles.shape
    picture = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return picture[:-_GAP_PX, :-_GAP_PX]


def _draw(
    blocks: list[np.ndarray],
    dataset: Dataset,
    splits: list[str],
    path: Path,
    title: str,
    count: int,
) -> Path:
    gap = np.ones((len(blocks[0]), _GROUP_GAP_PX, 3))
    parts = [part for block in blocks for part in (block, gap)][:-1]
    picture = np.concatenate(parts, axis=1)
    cell = (len(picture) + _GAP_PX) // dataset.n_classes
    scale = _INCHES_PER_CELL / cell
    height, width = picture.shape[0] * scale, picture.shape[1] * scale
    left, top = 1.5, 0.82
    figure = Figure(figsize=(left + width + 0.1, height + top + 0.1), facecolor="white")
    FigureCanvasAgg(figure)
    total_width, total_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / total_width, 0.1 / total_height, width / total_width, height / total_height)
    )
    axes.imshow(picture, interpolation="lanczos", aspect="auto")
    middles = [(i + 0.5) * cell for i in range(dataset.n_classes)]
    axes.set_yticks(middles, [_wrapped(name) for name in dataset.class_names], fontsize=9)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    step = count * cell - _GAP_PX + _GROUP_GAP_PX
    for i, split in enumerate(splits):
        middle = (i * step + (step - _GROUP_GAP_PX) / 2, -6)
        axes.annotate(
            dataset.title(split), middle, xytext=(0, 13), textcoords="offset points", ha="center",
            fontsize=10, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
        axes.annotate(
            dataset.by_split[split].meaning, middle, xytext=(0, 2), textcoords="offset points",
            ha="center", fontsize=6.5, color="0.35", annotation_clip=False,
        )  # fmt: skip
    figure.text(0.1 / total_width, 1 - 0.28 / total_height, title, fontsize=12, fontweight="bold")
    try:
        figure.savefig(path, dpi=150, format="png", metadata={"Title": title})
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
    return path


def _wrapped(name: str) -> str:
    """Return a name of a class; a long one has its last word on a second line."""
    return "\n".join(name.rsplit(" ", 1)) if len(name) > 16 else name
