"""The loop in which networks are trained: checkpoints, resumption, progress.

All that is random in an iteration follows from the seed and the iteration's number, so that a
run resumed from a checkpoint is the run that was never interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from coos_mlflow._utils.progress import progress
from coos_mlflow._utils.signals import held
from coos_mlflow._utils.timings import Clock
from coos_mlflow.errors import RegistryError, TrainingError
from coos_mlflow.representations.nn.networks import (
    Tensors,
    autocast,
    load_weights,
    place,
    read_tensors,
    uses_bf16,
    write_tensors,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINT = "checkpoint.safetensors"

_ERROR = "validation_error"

REPORT_EVERY = 25
"""Iterations whose mean loss makes one point of a curve."""


def _nothing(*_: Any) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Workshop:
    """Where a network is trained, and who is told how it goes.

    Parameters
    ----------
    folder : Path
        Gets the checkpoint; training goes on from the one that is there.
    on_metrics : callable
        Told (iteration, dict of float) of each point of the curves.
    on_figure : callable
        Told (file name such as ``"inpainting/000500.png"``, matplotlib Figure).
    """

    folder: Path
    on_metrics: Callable[[int, dict[str, float]], None] = _nothing
    on_figure: Callable[[str, Figure], None] = _nothing

    @property
    def checkpoint(self) -> Path:
        """The file from which training goes on."""
        return self.folder / CHECKPOINT


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Parameters
    ----------
    iterations : int
        Steps of the optimiser.
    batch : int
        Cells in a step.
    check_every : int
        Iterations from one validation, with its checkpoint, to the next.
    seed : int
        Of everything that is random.
    precision : str
        One of `coos_mlflow.representations.nn.precision.PRECISIONS`.
    """

    iterations: int
    batch: int
    check_every: int = 500
    seed: int = 0
    precision: str = "auto"


@dataclass(frozen=True)
class Learnt:
    """What training has left.

    Parameters
    ----------
    tensors : dict of str to Tensor
        The network's state at the best iteration; at the last one where nothing was validated.
    best_iteration : int
    error : float or None
        Validation error there.
    history : list of dict
        The points of the curves, in order.
    """

    tensors: Tensors
    best_iteration: int
    error: float | None
    history: list[dict[str, float]]


class Lesson(ABC):
    """What a network is taught: the loss of a batch, and how good it is now."""

    network: nn.Module
    """Moved to the device by `train` before anything else."""

    n_cells: int
    """Rows to draw batches from."""

    carries_over: bool = False
    """Whether cells that do not fill a batch at an epoch's end begin the next epoch's first one.

    Otherwise they are left out of that epoch.
    """

    @abstractmethod
    def optimiser(self) -> torch.optim.Optimizer:
        """Return a fresh optimiser of the network's parameters."""

    def learning_rate(self, iteration: int) -> float | None:
        """Return the rate of an iteration, counted from 0; None leaves the optimiser's."""
        return None

    @abstractmethod
    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Return what `loss` takes for the cells `rows`; `rng` draws what is random about it."""

    @abstractmethod
    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        """Return the loss of what `draw` has returned, a scalar."""

    def validation_error(self) -> float | None:
        """Return an error to minimise, in %, or None where there is nothing to validate."""
        return None

    def figure(self, iteration: int) -> tuple[str, Figure] | None:
        """Return a file name and a picture of what the network does now, or None."""
        return None


def train(lesson: Lesson, plan: Plan, workshop: Workshop, device: torch.device) -> Learnt:
    """Teach a lesson, going on from the checkpoint in the workshop's folder if there is one.

    Raises
    ------
    TrainingError
        When the loss is no longer finite, or the checkpoint is damaged.
    KeyboardInterrupt, SystemExit
        On signals that ask for it, once the running iteration is done and its checkpoint written.
    """
    return _Training(lesson, plan, workshop, device).run()


def rows_of(iteration: int, n_cells: int, plan: Plan, carries_over: bool = False) -> np.ndarray:
    """Return the cells of an iteration: every epoch goes through all of them in a new order.

    See `Lesson.carries_over` for what does not fill a batch at an epoch's end.
    """
    batch = min(plan.batch, n_cells)
    used = n_cells if carries_over else n_cells - n_cells % batch
    epoch, start = divmod(iteration * batch, used)
    rows = _order(epoch, n_cells, plan.seed)[start : start + batch]
    if missing := batch - len(rows):
        rows = np.concatenate([rows, _order(epoch + 1, n_cells, plan.seed)[:missing]])
    return rows


def _order(epoch: int, n_cells: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n_cells)


@dataclass
class _State:
    """All that the next iteration depends on besides network and optimiser.

    `window` holds the losses since the last point of the curve.
    """

    iteration: int = 0
    window: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best_iteration: int = 0
    error: float | None = None


class _Training:
    """One network in training."""

    def __init__(self, lesson: Lesson, plan: Plan, workshop: Workshop, device: torch.device):
        self.lesson, self.plan, self.workshop = lesson, plan, workshop
        self.bf16 = uses_bf16(plan.precision, device)
        self.autocast = partial(autocast, device, self.bf16)
        place(lesson.network, device)
        self.optimiser = lesson.optimiser()
        self.state = _State()
        self.best: Tensors = {}
        self.losses: list[torch.Tensor] = []  # not looked at each time: that would wait for the GPU
        self.clock = Clock(plan.batch)
        self.latest: dict[str, float] = {}  # by name, the last of each curve

    def run(self) -> Learnt:
        if self.workshop.checkpoint.exists():
            self._resume()
        total = self.plan.iterations
        self.lesson.network.train()
        with (
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=self.bf16),
            progress("Training", total=total, unit="iterations") as advance,
            held() as waiting,
        ):
            advance(self.state.iteration)
            self.clock.restart(self.state.iteration)
            while self.state.iteration < total:
                self._step()
                self._look()
                advance(1, self._note())
                if waiting.asked:
                    self._save()
                    waiting.obey()
            waiting.obey()
        tensors = self.best or _on_cpu(self.lesson.network.state_dict())
        return Learnt(
            tensors,
            self.state.best_iteration or self.state.iteration,
            self.state.error,
            self.state.history,
        )

    def _step(self) -> None:
        iteration = self.state.iteration
        rows = rows_of(iteration, self.lesson.n_cells, self.plan, self.lesson.carries_over)
        rate = self.lesson.learning_rate(iteration)
        if rate is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        rng = np.random.default_rng([self.plan.seed, iteration, 1])
        with self.autocast():
            loss = self.lesson.loss(*self.lesson.draw(rows, rng))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.losses.append(loss.detach())
        self.state.iteration += 1

    def _look(self) -> None:
        """Note the loss, validate and write a checkpoint, each when it is time."""
        iteration = self.state.iteration
        last = iteration == self.plan.iterations
        checks = iteration % self.plan.check_every == 0 or last
        metrics: dict[str, float] = {}
        if iteration % REPORT_EVERY == 0 or last:
            metrics |= self._report()
        if checks:
            metrics |= self._validate()
            if picture := self._picture():
                self._keeping_all(self.workshop.on_figure, *picture)
        # Told when all is noted: who is told may be gone, and the checkpoint must be whole then.
        if metrics:
            self._keeping_all(self.workshop.on_metrics, iteration, metrics)
        if checks:
            self._save()
            self.clock.restart(iteration)

    def _report(self) -> dict[str, float]:
        self._read_losses()
        point = {
            "iteration": self.state.iteration,
            "loss": float(np.mean(self.state.window)),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
        }
        self.state.window = []
        self._remember(point)
        measured = {name: value for name, value in point.items() if name != "iteration"}
        speed = self.clock.cells_per_second(self.state.iteration)
        return measured | {"cells_per_second": speed}

    def _validate(self) -> dict[str, float]:
        network = self.lesson.network
        with self._evaluating():
            error = self.lesson.validation_error()
        if error is None:
            return {}
        self._remember({"iteration": self.state.iteration, _ERROR: error})
        if self.state.error is None or error < self.state.error:
            self.state.error, self.state.best_iteration = error, self.state.iteration
            self.best = _on_cpu(network.state_dict())
        return {_ERROR: error}

    def _picture(self) -> tuple[str, Figure] | None:
        with self._evaluating():
            return self.lesson.figure(self.state.iteration)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.lesson.network.eval()
        with torch.inference_mode(), self.autocast():
            yield
        self.lesson.network.train()

    def _read_losses(self) -> None:
        values = torch.stack(self.losses).tolist() if self.losses else []
        self.losses = []
        if not np.isfinite(values).all():
            raise TrainingError(
                f"The loss is no longer finite before iteration {self.state.iteration} of "
                f"{self.plan.iterations}; lower the learning rate, or train with precision=fp32."
            )
        self.state.window += values

    def _remember(self, point: dict[str, float]) -> None:
        self.state.history.append(point)
        self.latest |= point

    def _keeping_all(self, tell: Callable[..., None], *what: Any) -> None:
        """Tell somebody; should that fail, the training can go on from here."""
        try:
            tell(*what)
        except Exception:
            self._save()
            raise

    def _note(self) -> str:
        parts = [
            f"loss {self.latest['loss']:.4g}" if "loss" in self.latest else "",
            f"error {self.latest[_ERROR]:.1f} %" if _ERROR in self.latest else "",
            f"{self.clock.cells_per_second(self.state.iteration):,.0f} cells/s",
        ]
        return ", ".join(part for part in parts if part)

    def _save(self) -> None:
        self._read_losses()
        adam = self.optimiser.state_dict()["state"]
        tensors = {f"network.{k}": v for k, v in self.lesson.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"optimiser.{i}.{k}": v for i, of in adam.items() for k, v in of.items()}
        write_tensors(self.workshop.checkpoint, tensors, asdict(self.state))

    def _resume(self) -> None:
        """Take up the checkpoint; one that is damaged is set aside, and all begins anew."""
        file = self.workshop.checkpoint
        try:
            tensors, facts = read_tensors(file)
            state = _State(**facts)
            load_weights(self.lesson.network, _under("network.", tensors), str(file))
        except (RegistryError, TypeError) as error:
            aside = file.with_suffix(".damaged")
            file.replace(aside)
            raise TrainingError(
                f"{file}: the checkpoint is damaged and was set aside as {aside.name} "
                f"({error}); the same command begins anew."
            ) from error
        self.best = _under("best.", tensors)
        self._restore_optimiser(_under("optimiser.", tensors))
        self.state = state
        for point in state.history:
            self.latest |= point

    def _restore_optimiser(self, tensors: Tensors) -> None:
        groups = self.optimiser.state_dict()["param_groups"]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        by_parameter: dict[int, Tensors] = {}
        for name, tensor in tensors.items():
            index, _, what = name.partition(".")
            like = parameters[int(index)]
            # In the parameter's memory format; steps would be slower otherwise.
            same = tensor.shape == like.shape
            put = torch.empty_like(like, device="cpu").copy_(tensor) if same else tensor
            by_parameter.setdefault(int(index), {})[what] = put
        self.optimiser.load_state_dict({"state": by_parameter, "param_groups": groups})


def _on_cpu(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
