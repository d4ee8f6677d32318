"""The networks as they answer, against a plain loop over the same networks.

The peer is eager, in single precision, channels first, `PEER_BATCH` cells at a time, on tensors
that are there already. Weights are random: they change no time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benches import in_turn
from coos_mlflow.representations import PROBABILITIES, create
from coos_mlflow.representations.nn.deeploc_network import EVALUATION_OFFSETS, evaluation_crops
from coos_mlflow.representations.nn.networked import NetworkRepresentation
from coos_mlflow.representations.nn.networks import best_device, uses_bf16
from coos_mlflow.representations.nn.precision import AUTO, FP32
from coos_mlflow.representations.nn.vgg16_network import zero_centred
from coos_mlflow.simulate import simulate_plate_cells

PEER_BATCH = 64

MATRIX = 2048
"""Rows and columns of the matrices whose product is the roofline."""

Peer = Callable[[Any, torch.Tensor], object]


class Case(NamedTuple):
    """A network, what is asked of it, and how a plain loop asks it."""

    title: str
    key: str
    params: dict[str, Any]
    layer: str
    peer: Peer


def averaged_over(crops: int) -> Peer:
    """Return a plain evaluation of DeepLoc over some crops, one after the other."""

    def answer(network: Any, cells: torch.Tensor) -> object:
        seen = evaluation_crops(cells, crops)
        return torch.stack([network(crop)[0].softmax(1) for crop in seen]).mean(0)

    return answer


CASES = (
    *(
        Case(f"deeploc-{n}", "deeploc", {"crops": n}, PROBABILITIES, averaged_over(n))
        for n in EVALUATION_OFFSETS
    ),
    Case("pci", "pci", {}, "conv5", lambda network, cells: network.features(cells, ["conv5"])),
    Case(
        "vgg16",
        "vgg16",
        {"weights": "random"},
        "conv4_2",
        lambda network, cells: network(zero_centred(cells).contiguous(), ["conv4_2"]),
    ),
)


def run(cells: int = 64, rounds: int = 5) -> dict[str, Any]:
    """Time each network as prepared for "auto" and for "fp32", its peer, and a matrix product."""
    device = best_device()
    bf16 = uses_bf16(AUTO, device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    images = simulate_plate_cells(seed=0, wells_per_class=1, cells_per_well=-(-cells // 7))[
        "images"
    ]
    matrix = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
    result: dict[str, Any] = {
        "device": device.type,
        "bf16": bf16,
        "threads": torch.get_num_threads(),
    }
    for case in CASES:
        result[case.title] = _measure(case, images[:cells], matrix, rounds)
    return result | {"ratio": min(result[case.title]["ratio"] for case in CASES)}


def _measure(case: Case, images: np.ndarray, matrix: torch.Tensor, rounds: int) -> dict[str, float]:
    ours, single, plain = _networks(case)
    prepared = ours.preprocess(images)
    ours.prepare(AUTO)
    single.prepare(FP32)
    there = torch.from_numpy(prepared).to(matrix.device)

    def peer() -> None:
        with torch.inference_mode():
            for some in there.split(PEER_BATCH):
                case.peer(plain, some)
        _finish(matrix.device)

    def product() -> None:
        torch.mm(matrix, matrix)
        _finish(matrix.device)

    asked = None if case.layer == PROBABILITIES else [case.layer]
    sides = [peer, lambda: ours.compute(prepared, asked), lambda: single.compute(prepared, asked)]
    for side in sides:
        side()
    theirs, fast, exact, one_product = in_turn([*sides, product], rounds)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        case.peer(plain, there[:1])
    roofline = 2 * MATRIX**3 / one_product
    found = {
        "ratio": round(theirs / fast, 2),
        "ratio_fp32": round(theirs / exact, 2),
        "cells_per_second": round(len(images) / fast, 1),
        "roofline_share": round(counted.get_total_flops() * len(images) / fast / roofline, 2),
        "roofline_gflops": round(roofline / 1e9),
    }
    print(
        f"{case.title:10} peer {len(images) / theirs:7,.1f} cells/s, "
        f"ours {found['cells_per_second']:7,.1f}, ratio {found['ratio']:.2f} "
        f"(fp32 {found['ratio_fp32']:.2f}); "
        f"{found['roofline_share']:.0%} of a matrix product's {found['roofline_gflops']:,} GFLOP/s"
    )
    return found


def _networks(
    case: Case,
) -> tuple[NetworkRepresentation[Any], NetworkRepresentation[Any], nn.Module]:
    """Return the representation twice, on the same random weights, and its plain network."""
    made: list[Any] = [create(case.key, **case.params) for _ in range(2)]
    if made[0].trainable:
        tensors = made[0]._build().state_dict()
        for one in made:
            one._use(tensors, "random weights")
    made[0].require()
    plain = made[0]._build()
    plain.load_state_dict(made[0]._tensors)
    return made[0], made[1], plain.eval().to(best_device())


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
