"""The training loop of networks: validation, checkpoints, resumption, progress.

A network supplies a `TrainingTask`; `train` runs it. The random numbers of an iteration depend on
the seed and the iteration's number alone, so a resumed training gives the same weights as one that
was never interrupted.
"""

from __future__ import annotations

import math
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
from coos_mlflow._utils.signals import deferred_signals
from coos_mlflow._utils.timings import Clock
from coos_mlflow.errors import RegistryError, TrainingError
from coos_mlflow.representations.nn.networks import (
    Tensors,
    autocast,
    load_weights,
    read_tensors,
    to_device,
    uses_bf16,
    write_tensors,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHECKPOINT = "checkpoint.safetensors"

_ERROR = "validation_error"

WARM_UP = 0.05
"""Share of the iterations in which `warmed_cosine` rises to its full value (chosen)."""

REPORT_EVERY = 25
"""Iterations over which the loss is averaged for one point of the curve."""


def _ignore(*_: Any) -> None:
    """Accept any arguments and do nothing."""


@dataclass(frozen=True)
class TrainingContext:
    """Folder and callbacks of a training.

    Parameters
    ----------
    folder : Path
        Folder of the checkpoint. Training resumes from a checkpoint that is already there.
    on_metrics : callable
        Called with (iteration, dict of float) for each point of the curves.
    on_figure : callable
        Called with (file name such as ``"inpainting/000500.png"``, matplotlib Figure).
    """

    folder: Path
    on_metrics: Callable[[int, dict[str, float]], None] = _ignore
    on_figure: Callable[[str, Figure], None] = _ignore

    @property
    def checkpoint(self) -> Path:
        """The file of the checkpoint."""
        return self.folder / CHECKPOINT


@dataclass(frozen=True)
class Plan:
    """Length, batches, seed and precision of a training.

    Parameters
    ----------
    iterations : int
        Steps of the optimiser.
    batch : int
        Cells in a step.
    check_every : int
        Iterations between validations; a checkpoint is written at each.
    seed : int
        Seed of all random numbers.
    precision : str
        One of `coos_mlflow.representations.nn.precision.PRECISIONS`.
    """

    iterations: int
    batch: int
    check_every: int = 500
    seed: int = 0
    precision: str = "auto"


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training.

    Parameters
    ----------
    tensors : dict of str to Tensor
        The network's state at the best iteration, or at the last one without validation.
    best_iteration : int
        The iteration of `tensors`.
    error : float or None
        Validation error at the best iteration, in %.
    history : list of dict
        The points of the curves, in order.
    """

    tensors: Tensors
    best_iteration: int
    error: float | None
    history: list[dict[str, float]]


class TrainingTask(ABC):
    """A network, its batches, loss and optimiser, and how it is validated."""

    network: nn.Module
    """The network to train; `train` moves it to the device first."""

    n_cells: int
    """Number of rows from which batches are drawn."""

    carries_over: bool = False
    """Whether cells that do not fill an epoch's last batch start the next epoch; else left out."""

    state: Tensors = {}  # noqa: RUF012 - replaced by a task that has a state
    """What the loss remembers from step to step, changed in place; part of a checkpoint."""

    @abstractmethod
    def optimiser(self) -> torch.optim.Optimizer:
        """Return a new optimiser of the network's parameters."""

    def learning_rate(self, iteration: int) -> float | None:
        """Return the rate of an iteration, counted from 0; None keeps the optimiser's own."""
        return None

    @abstractmethod
    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Return the batch of the cells `rows`, augmented with random numbers of `rng`."""

    @abstractmethod
    def loss(self, *drawn: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch from `draw`, a scalar."""

    def validation_error(self) -> float | None:
        """Return the error to minimise, in %, or None where there is no validation."""
        return None

    def measured(self) -> dict[str, float]:
        """Return further values of the present network for the curves, by name; none by default."""
        return {}

    def figure(self, iteration: int) -> tuple[str, Figure] | None:
        """Return a file name and a figure of the network's present output, or None."""
        return None


def train(
    task: TrainingTask, plan: Plan, context: TrainingContext, device: torch.device
) -> TrainingResult:
    """Train the task's network, resuming from the checkpoint in the context's folder if any.

    Raises
    ------
    TrainingError
        Where the loss is no longer finite, or the checkpoint is damaged.
    KeyboardInterrupt, SystemExit
        After a signal to end, once the running iteration is done and its checkpoint written.
    """
    return _Training(task, plan, context, device).run()


def warmed_cosine(iteration: int, iterations: int) -> float:
    """Return the share of the greatest rate: it rises first, then falls to 0 as a cosine.

    Parameters
    ----------
    iteration : int
        Counted from 0.
    iterations : int
        Of the whole training.
    """
    rising = (iteration + 1) / (WARM_UP * iterations)
    falling = (1 + math.cos(math.pi * iteration / iterations)) / 2
    return min(rising, falling)


def batch_rows(iteration: int, n_cells: int, plan: Plan, carries_over: bool = False) -> np.ndarray:
    """Return the rows of an iteration's batch; every epoch has a new order of the cells.

    See `TrainingTask.carries_over` for cells that do not fill a batch at an epoch's end.
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
    """State of a training besides network and optimiser, as stored in a checkpoint."""

    iteration: int = 0
    window: list[float] = field(default_factory=list)  # losses since the curve's last point
    history: list[dict[str, float]] = field(default_factory=list)
    best_iteration: int = 0
    error: float | None = None


class _Training:
    """The state and the loop of one training."""

    def __init__(
        self, task: TrainingTask, plan: Plan, context: TrainingContext, device: torch.device
    ):
        self.task, self.plan, self.context = task, plan, context
        self.bf16 = uses_bf16(plan.precision, device)
        self.autocast = partial(autocast, device, self.bf16)
        to_device(task.network, device)
        self.optimiser = task.optimiser()
        self.state = _State()
        self.best: Tensors = {}
        self.losses: list[torch.Tensor] = []  # read late: reading one waits for the GPU
        self.clock = Clock(plan.batch)
        self.latest: dict[str, float] = {}  # last value of each curve, by name

    def run(self) -> TrainingResult:
        if self.context.checkpoint.exists():
            self._resume()
        total = self.plan.iterations
        self.task.network.train()
        with (
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=self.bf16),
            progress("Training", total=total, unit="iterations") as advance,
            deferred_signals() as waiting,
        ):
            advance(self.state.iteration)
            self.clock.restart(self.state.iteration)
            while self.state.iteration < total:
                self._step()
                self._after_step()
                advance(1, self._progress_note())
                if waiting.asked:
                    self._save()
                    waiting.obey()
            waiting.obey()
        tensors = self.best or _on_cpu(self.task.network.state_dict())
        return TrainingResult(
            tensors,
            self.state.best_iteration or self.state.iteration,
            self.state.error,
            self.state.history,
        )

    def _step(self) -> None:
        iteration = self.state.iteration
        rows = batch_rows(iteration, self.task.n_cells, self.plan, self.task.carries_over)
        rate = self.task.learning_rate(iteration)
        if rate is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = rate
        rng = np.random.default_rng([self.plan.seed, iteration, 1])
        with self.autocast():
            loss = self.task.loss(*self.task.draw(rows, rng))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.losses.append(loss.detach())
        self.state.iteration += 1

    def _after_step(self) -> None:
        """Report the loss, validate and write a checkpoint, each at its own interval."""
        iteration = self.state.iteration
        last = iteration == self.plan.iterations
        checks = iteration % self.plan.check_every == 0 or last
        metrics: dict[str, float] = {}
        if iteration % REPORT_EVERY == 0 or last:
            metrics |= self._report()
        if checks:
            metrics |= self._validate()
            if figure := self._figure():
                self._call(self.context.on_figure, *figure)
        # Callbacks come last: one that fails leaves a checkpoint, which must hold this state.
        if metrics:
            self._call(self.context.on_metrics, iteration, metrics)
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
        self._record(point)
        measured = {name: value for name, value in point.items() if name != "iteration"}
        speed = self.clock.cells_per_second(self.state.iteration)
        return measured | {"cells_per_second": speed}

    def _validate(self) -> dict[str, float]:
        network = self.task.network
        with self._evaluating():
            error, values = self.task.validation_error(), self.task.measured()
        if error is not None:
            values = values | {_ERROR: error}
            if self.state.error is None or error < self.state.error:
                self.state.error, self.state.best_iteration = error, self.state.iteration
                self.best = _on_cpu(network.state_dict())
        if values:
            self._record({"iteration": self.state.iteration} | values)
        return values

    def _figure(self) -> tuple[str, Figure] | None:
        with self._evaluating():
            return self.task.figure(self.state.iteration)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.task.network.eval()
        with torch.inference_mode(), self.autocast():
            yield
        self.task.network.train()

    def _read_losses(self) -> None:
        values = torch.stack(self.losses).tolist() if self.losses else []
        self.losses = []
        if not np.isfinite(values).all():
            raise TrainingError(
                f"The loss is no longer finite before iteration {self.state.iteration} of "
                f"{self.plan.iterations}; lower the learning rate, or train with precision=fp32."
            )
        self.state.window += values

    def _record(self, point: dict[str, float]) -> None:
        self.state.history.append(point)
        self.latest |= point

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call a callback; if it fails, write a checkpoint, so that training can resume here."""
        try:
            callback(*arguments)
        except Exception:
            self._save()
            raise

    def _progress_note(self) -> str:
        parts = [
            f"loss {self.latest['loss']:.4g}" if "loss" in self.latest else "",
            f"error {self.latest[_ERROR]:.1f} %" if _ERROR in self.latest else "",
            f"{self.clock.cells_per_second(self.state.iteration):,.0f} cells/s",
        ]
        return ", ".join(part for part in parts if part)

    def _save(self) -> None:
        self._read_losses()
        adam = self.optimiser.state_dict()["state"]
        tensors = {f"network.{k}": v for k, v in self.task.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"task.{k}": v for k, v in self.task.state.items()}
        tensors |= {f"optimiser.{i}.{k}": v for i, of in adam.items() for k, v in of.items()}
        write_tensors(self.context.checkpoint, tensors, asdict(self.state))

    def _resume(self) -> None:
        """Restore the checkpoint; a damaged one is renamed, so that the next call starts anew."""
        file = self.context.checkpoint
        try:
            tensors, facts = read_tensors(file)
            state = _State(**facts)
            load_weights(self.task.network, _without_prefix("network.", tensors), str(file))
        except (RegistryError, TypeError) as error:
            aside = file.with_suffix(".damaged")
            file.replace(aside)
            raise TrainingError(
                f"{file}: the checkpoint is damaged and was renamed to {aside.name} "
                f"({error}); the same command starts the training anew."
            ) from error
        self.best = _without_prefix("best.", tensors)
        for name, tensor in _without_prefix("task.", tensors).items():
            self.task.state[name].copy_(tensor)
        self._restore_optimiser(_without_prefix("optimiser.", tensors))
        self.state = state
        for point in state.history:
            self.latest |= point

    def _restore_optimiser(self, tensors: Tensors) -> None:
        groups = self.optimiser.state_dict()["param_groups"]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        by_parameter: dict[int, Tensors] = {}
        for name, tensor in tensors.items():
            index, _, key = name.partition(".")
            like = parameters[int(index)]
            # Moments in the parameter's memory format; steps would be slower otherwise.
            same = tensor.shape == like.shape
            value = torch.empty_like(like, device="cpu").copy_(tensor) if same else tensor
            by_parameter.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({"state": by_parameter, "param_groups": groups})


def _on_cpu(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors whose name begins with a prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
