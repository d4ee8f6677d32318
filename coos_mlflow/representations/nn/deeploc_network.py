"""DeepLoc's network, preprocessing, augmentation and crops (Kraus et al. 2017, okraus/DeepLoc)."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import nn

from coos_mlflow.plates.dataset import CHANNELS
from coos_mlflow.representations.nn.networks import same_pixels, scaled

INPUT_SHARE = 60 / 64
"""Height and width of the network's input, as a share of a cell's; see `input_side`."""

CONVOLUTIONS = ((64, 64), (128, 128), (256, 256, 256, 256))
"""Channels of the 3x3 convolutions; each group is followed by max-pooling."""

FULLY_CONNECTED = 512
"""Width of fc_1 and fc_2."""

EPSILON = 1e-3
"""Epsilon of batch normalisation."""

MOMENTUM = 0.5
"""Momentum of batch normalisation: DeepLoc's decay of 0.5 is PyTorch's momentum of 0.5."""

INITIAL_DEVIATION = 0.1
"""Standard deviation of initial weights, normal and cut at two deviations as in TensorFlow 1."""

INITIAL_BIAS = 0.1

EVALUATION_OFFSETS = {
    1: ((0.5, 0.5),),
    5: ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1)),
}
"""Upper left corners of the crops over which inference averages: the centre, and the corners.

They are shares of the largest offset, which is the cell's side less the input's.
"""

CROPS_AT_A_TIME = {"cpu": 16}
"""Batch size of inference at cells of 64 pixels (`same_pixels`), so that feature maps stay in a
processor's cache; a GPU takes all."""

STRETCH = (0.1, 99.9)
"""Percentiles of an image that are mapped to 0 and 1."""

_BLOCK = 1024
"""Cells of 64 pixels stretched at once (`same_pixels`): copies need several times their memory."""


class DeepLocNetwork(nn.Module):
    """Eight convolutions and three fully connected layers.

    For cells of 64 pixels and 7 classes, at width 1, it is the paper's network of 10,985,237
    parameters. The first fully connected layer grows with the square of the cells' side.

    Parameters
    ----------
    side : int
        Height and width of the cells in pixels; the input is smaller (`input_side`).
    n_classes : int
    width : float
        Factor on every number of channels.
    seed : int
        Seed of the initial weights.
    """

    def __init__(self, side: int, n_classes: int, width: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        groups = [[scaled(channels, width) for channels in group] for group in CONVOLUTIONS]
        hidden = scaled(FULLY_CONNECTED, width)
        blocks: list[nn.Module] = []
        before = len(CHANNELS)
        for group in groups:
            for channels in group:
                blocks += [
                    nn.Conv2d(before, channels, 3, padding=1),
                    nn.BatchNorm2d(channels, EPSILON, MOMENTUM),
                    nn.ReLU(inplace=True),
                ]
                before = channels
            # As TensorFlow's padding SAME: 60 -> 30 -> 15 -> 8 at cells of 64 pixels.
            blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        pooled = -(-input_side(side) // 2 ** len(CONVOLUTIONS))
        self.convolutions = nn.Sequential(*blocks)
        self.fc_1 = _fully_connected(before * pooled * pooled, hidden)
        self.fc_2 = _fully_connected(hidden, hidden)
        self.logits = nn.Sequential(
            nn.Linear(hidden, n_classes), nn.BatchNorm1d(n_classes, EPSILON, MOMENTUM)
        )
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (n, classes) and FC2 (n, 512 x width) of crops.

        Parameters
        ----------
        crops : Tensor of float32, shape (n, 2, input side, input side)
        """
        return self.conclude(self.convolutions(crops).flatten(1))

    def conclude(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits and FC2 of the flattened feature maps of `convolutions`."""
        fc2 = self.fc_2(self.fc_1(maps))
        return self.logits(fc2), fc2

    def _initialise(self, generator: torch.Generator) -> None:
        cut = 2 * INITIAL_DEVIATION
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(
                    module.weight, 0, INITIAL_DEVIATION, -cut, cut, generator=generator
                )
                if module.bias is not None:
                    nn.init.constant_(module.bias, INITIAL_BIAS)


def _fully_connected(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, outputs),
        nn.BatchNorm1d(outputs, EPSILON, MOMENTUM),
        nn.ReLU(inplace=True),
    )


def input_side(side: int) -> int:
    """Return the height and width of the network's input for cells of `side` pixels: 60 for 64.

    A half is rounded to the even number.
    """
    return round(side * INPUT_SHARE)


def stretch(images: np.ndarray) -> np.ndarray:
    """Bring raw counts to about [0, 1], each image and channel by its own percentiles.

    Values above the 99.9th percentile are clipped to it. The 0.1th percentile is subtracted. The
    result is divided by the range between both where that is more than one count.

    Parameters
    ----------
    images : ndarray, shape (n, 2, height, width)
        Raw counts. Images in [0, 1] would not be divided, since their range is at most 1.

    Returns
    -------
    ndarray of float32, shape (n, 2, height, width)
    """
    stretched = np.empty(images.shape, np.float32)
    _stretch_all(np.ascontiguousarray(images, np.float32), stretched)
    return stretched


def stretch_into(target: torch.Tensor, images: np.ndarray, rows: np.ndarray) -> None:
    """Write the stretched cells `rows` to a tensor (len(rows), 2, crop, crop), block by block."""
    size = same_pixels(_BLOCK, images.shape)
    for start in range(0, len(rows), size):
        block = stretch(images[rows[start : start + size]])
        target[start : start + size] = torch.from_numpy(block)


@njit(cache=True, nogil=True)
def _stretch_all(images, stretched):  # type: ignore[no-untyped-def]
    for i in range(images.shape[0]):
        for channel in range(images.shape[1]):
            pixels, target = images[i, channel].ravel(), stretched[i, channel].reshape(-1)
            low, high = _percentiles(pixels)
            spread = high - low
            divisor = spread if spread > 1 else np.float32(1)
            for p in range(len(pixels)):
                target[p] = (min(pixels[p], high) - low) / divisor


@njit(cache=True, nogil=True)
def _percentiles(pixels):  # type: ignore[no-untyped-def]
    """Return the two percentiles of `STRETCH`, digit for digit as `np.percentile` does.

    Only the few smallest and the few largest pixels are kept, each in a sorted buffer, so that
    most pixels are compared twice and not sorted.
    """
    last = len(pixels) - 1
    low_rank, high_rank = STRETCH[0] / 100 * last, STRETCH[1] / 100 * last
    kept = min(len(pixels), max(int(low_rank) + 2, last - int(high_rank) + 1))
    smallest = np.full(kept, np.float32(np.inf))
    largest = np.full(kept, np.float32(-np.inf))
    for pixel in pixels:
        if pixel < smallest[-1]:
            i = kept - 1
            while i > 0 and smallest[i - 1] > pixel:
                smallest[i] = smallest[i - 1]
                i -= 1
            smallest[i] = pixel
        if pixel > largest[0]:
            i = 0
            while i < kept - 1 and largest[i + 1] < pixel:
                largest[i] = largest[i + 1]
                i += 1
            largest[i] = pixel
    return _interpolate(smallest, low_rank), _interpolate(largest, high_rank - (last - kept + 1))


@njit(cache=True, nogil=True)
def _interpolate(ordered, rank):  # type: ignore[no-untyped-def]
    """Interpolate as NumPy does: from the nearer neighbour, in double precision."""
    before = int(rank)
    after = min(before + 1, len(ordered) - 1)
    share = rank - before
    step = np.float64(ordered[after] - ordered[before])
    if share < 0.5:
        return np.float32(ordered[before] + step * share)
    return np.float32(ordered[after] - step * (1 - share))


def augmented(images: torch.Tensor, rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Return a random crop of each of the cells `rows`, flipped and turned at random.

    The crop's offset is drawn below the largest one on each axis, 0..3 for cells of 64 pixels.
    Each flip has probability one half, and the crop is turned by 0, 90 or 180 degrees. DeepLoc
    does the same image by image; here it is one gather.

    Parameters
    ----------
    images : Tensor of float32, shape (cells, side, side, 2)
        Channels last, on the device of the training.
    rows : ndarray of int64, shape (n,)
    rng : Generator

    Returns
    -------
    Tensor, shape (n, 2, input side, input side)
        In channels-last memory.
    """
    n, cropped = len(rows), input_side(images.shape[1])
    offsets = rng.integers(0, images.shape[1] - cropped, (n, 2))
    flips = rng.random((n, 2)) < 0.5
    turns = rng.integers(0, 3, n)
    drawn = np.column_stack([rows, offsets, flips, turns]).astype(np.int64)
    row, y_offset, x_offset, up_down, left_right, turn = (
        torch.from_numpy(drawn).to(images.device, non_blocking=True)[:, :, None, None].unbind(1)
    )
    near = torch.arange(cropped, device=images.device)
    i, j, far = near[:, None], near[None, :], cropped - 1
    y = torch.where(turn == 0, i, torch.where(turn == 1, j, far - i))
    x = torch.where(turn == 0, j, torch.where(turn == 1, far - i, far - j))
    y = torch.where(up_down == 1, far - y, y) + y_offset
    x = torch.where(left_right == 1, far - x, x) + x_offset
    return images[row, y, x].permute(0, 3, 1, 2)


def evaluation_crops(images: torch.Tensor, crops: int) -> list[torch.Tensor]:
    """Return the crops of inference (n, 2, input side, input side) of cells (n, 2, side, side)."""
    side = images.shape[-1]
    cropped = input_side(side)
    corners = [
        (int(y * (side - cropped)), int(x * (side - cropped))) for y, x in EVALUATION_OFFSETS[crops]
    ]
    return [images[:, :, y : y + cropped, x : x + cropped] for y, x in corners]


def averaged_outputs(
    network: DeepLocNetwork, images: torch.Tensor, crops: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return class probabilities and FC2, each averaged over the crops of inference.

    Parameters
    ----------
    images : Tensor of float32, shape (n, 2, side, side)
        Output of `stretch`.
    crops : int
        A key of `EVALUATION_OFFSETS`.

    Returns
    -------
    tuple of Tensor
        Shapes (n, classes) and (n, 512 x width), float32.
    """
    stacked = torch.cat(evaluation_crops(images, crops))
    stacked = stacked.contiguous(memory_format=torch.channels_last)
    at_a_time = len(stacked)
    if images.device.type in CROPS_AT_A_TIME:
        at_a_time = same_pixels(CROPS_AT_A_TIME[images.device.type], images.shape)
    batches = stacked.split(at_a_time)
    maps = torch.cat([network.convolutions(batch).flatten(1) for batch in batches])
    logits, fc2 = network.conclude(maps.float())
    probabilities = logits.float().softmax(dim=1)
    return (
        probabilities.unflatten(0, (crops, -1)).mean(dim=0),
        fc2.float().unflatten(0, (crops, -1)).mean(dim=0),
    )
