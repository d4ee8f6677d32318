"""The training loop: its checkpoints, and the same weights after a stop."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from waiting import PATIENCE

from coos_mlflow.errors import OutputError, TrainingError
from coos_mlflow.representations.nn.networks import read_tensors
from coos_mlflow.representations.nn.training import (
    CHECKPOINT,
    Plan,
    TrainingContext,
    TrainingTask,
    batch_rows,
    train,
)

CPU = torch.device("cpu")
PLAN = Plan(iterations=60, batch=8, check_every=20, seed=3, precision="fp32")


class Regression(TrainingTask):
    """A small network with batch normalisation fits noisy sines; the noise is drawn by step."""

    n_cells = 40

    def __init__(self, errors=None, rate=None):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Linear(16, 1))
        self.x = torch.from_numpy(np.random.default_rng(1).normal(size=(40, 3))).float()
        self.errors, self.rate, self.rates = errors, rate, []

    def optimiser(self):
        return torch.optim.Adam(self.network.parameters(), 0.01)

    def learning_rate(self, iteration):
        return None if self.rate is None else self.rate(iteration)

    def draw(self, rows, rng):
        return self.x[rows], torch.from_numpy(rng.normal(size=(len(rows), 1))).float()

    def loss(self, x, noise):
        return ((self.network(x) - x.sin().sum(dim=1, keepdim=True) - 0.1 * noise) ** 2).mean()

    def validation_error(self):
        return None if self.errors is None else self.errors.pop(0)


class PowerCut(BaseException):
    """Ends everything at once: nothing is saved after it."""


def run(folder, task=None, plan=PLAN, stop_at=None):
    def on_metrics(iteration, metrics):
        if iteration == stop_at:
            raise PowerCut

    return train(task or Regression(), plan, TrainingContext(folder, on_metrics), CPU)


def assert_same(found, expected):
    assert found.history == expected.history
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert torch.equal(found.tensors[name], tensor), name


def test_the_loss_falls(tmp_path):
    history = run(tmp_path).history
    assert [point["iteration"] for point in history] == [25, 50, 60]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


@pytest.mark.parametrize("stop_at", [25, 50])
def test_a_run_that_broke_off_goes_on_as_if_it_had_not(tmp_path, stop_at):
    with pytest.raises(PowerCut):
        run(tmp_path / "broken", stop_at=stop_at)
    _, facts = read_tensors(tmp_path / "broken" / CHECKPOINT)
    assert facts["iteration"] == stop_at // 20 * 20
    assert_same(run(tmp_path / "broken"), run(tmp_path / "whole"))


def test_when_nobody_can_be_told_nothing_is_lost(tmp_path):
    """A tracking store that fails ends the training; the iterations done are kept."""

    def on_metrics(iteration, metrics):
        if iteration == 50:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        train(Regression(), PLAN, TrainingContext(tmp_path / "broken", on_metrics), CPU)
    assert read_tensors(tmp_path / "broken" / CHECKPOINT)[1]["iteration"] == 50
    assert_same(run(tmp_path / "broken"), run(tmp_path / "whole"))


def test_a_damaged_checkpoint_is_renamed(tmp_path):
    with pytest.raises(PowerCut):
        run(tmp_path, stop_at=50)
    file = tmp_path / CHECKPOINT
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(TrainingError, match="damaged and was renamed"):
        run(tmp_path)
    assert not file.exists()
    assert_same(run(tmp_path), run(tmp_path / "whole"))


def test_a_resumed_optimiser_keeps_the_memory_format(tmp_path):
    class Convolution(Regression):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.network = nn.Sequential(
                nn.Unflatten(1, (3, 1, 1)),
                nn.Conv2d(3, 4, 3, padding=1),
                nn.Flatten(),
                nn.Linear(4, 1),
            )

    task = Convolution()
    with pytest.raises(PowerCut):
        run(tmp_path, Convolution(), stop_at=25)
    kept = []
    make = task.optimiser

    def optimiser():
        kept.append(make())
        return kept[0]

    task.optimiser = optimiser
    run(tmp_path, task)
    moments = kept[0].state[task.network[1].weight]["exp_avg"]
    assert moments.is_contiguous(memory_format=torch.channels_last)


def test_a_full_disk_is_one_sentence(small_disk):
    with pytest.raises(OutputError, match="cannot be written"):
        run(small_disk(4096))


def test_another_seed_is_another_run(tmp_path):
    other = Plan(iterations=60, batch=8, check_every=20, seed=4, precision="fp32")
    assert run(tmp_path / "a").history != run(tmp_path / "b", plan=other).history


def test_the_best_iteration_is_kept_across_a_stop(tmp_path):
    with pytest.raises(PowerCut):
        run(tmp_path, Regression([9.0, 4.0]), stop_at=50)
    result = run(tmp_path, Regression([7.0]))
    assert (result.best_iteration, result.error) == (40, 4.0)
    short = Plan(iterations=40, batch=8, check_every=20, seed=3, precision="fp32")
    at_40 = run(tmp_path / "short", plan=short)
    for name, tensor in at_40.tensors.items():
        assert torch.equal(result.tensors[name], tensor), name


def test_the_first_of_equals_is_kept(tmp_path):
    assert run(tmp_path, Regression([5.0, 5.0, 5.0])).best_iteration == 20


def test_without_validation_the_last_weights_are_kept(tmp_path):
    result = run(tmp_path)
    assert (result.best_iteration, result.error) == (60, None)


def test_the_learning_rate_is_that_of_the_iteration(tmp_path):
    history = run(tmp_path, Regression(rate=lambda i: 0.1 * 0.5 ** (i // 25))).history
    assert [point["learning_rate"] for point in history] == [0.1, 0.05, 0.025]


def test_every_epoch_goes_through_all_cells_in_an_order_of_its_own():
    plan = Plan(iterations=10, batch=8, seed=0)
    epochs = [np.concatenate([batch_rows(5 * e + s, 40, plan) for s in range(5)]) for e in range(2)]
    for rows in epochs:
        np.testing.assert_array_equal(np.sort(rows), np.arange(40))
    assert (epochs[0] != epochs[1]).any()


def test_what_does_not_fill_a_batch_is_left_out_of_its_epoch():
    plan = Plan(iterations=10, batch=8, seed=0)
    epochs = [np.concatenate([batch_rows(5 * e + s, 43, plan) for s in range(5)]) for e in range(2)]
    assert [len(set(rows)) for rows in epochs] == [40, 40]
    assert set(epochs[0]) != set(epochs[1])


@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_batches_that_carry_over_draw_each_cell_once_in_every_epoch(n_cells, batch, epochs, seed):
    plan = Plan(iterations=1, batch=batch, seed=seed)
    used = min(batch, n_cells)
    iterations = range(-(-epochs * n_cells // used))
    batches = [batch_rows(i, n_cells, plan, carries_over=True) for i in iterations]
    assert {len(rows) for rows in batches} == {used}
    drawn = np.concatenate(batches)[: epochs * n_cells].reshape(epochs, n_cells)
    np.testing.assert_array_equal(np.sort(drawn), np.tile(np.arange(n_cells), (epochs, 1)))


class CarryingOver(Regression):
    """Batches of 16 of 40 cells: every second epoch begins in the middle of a batch."""

    carries_over = True
    plan = Plan(iterations=60, batch=16, check_every=20, seed=3, precision="fp32")

    def __init__(self):
        super().__init__()
        self.drawn = []

    def draw(self, rows, rng):
        self.drawn.append(rows)
        return super().draw(rows, rng)


def test_a_lesson_that_carries_over_leaves_no_cell_out(tmp_path):
    task = CarryingOver()
    run(tmp_path, task, task.plan)
    assert np.bincount(np.concatenate(task.drawn)).tolist() == [60 * 16 // 40] * 40


def test_a_lesson_that_carries_over_goes_on_as_if_it_had_not_broken_off(tmp_path):
    with pytest.raises(PowerCut):
        run(tmp_path / "broken", CarryingOver(), CarryingOver.plan, stop_at=50)
    resumed = CarryingOver()
    found = run(tmp_path / "broken", resumed, resumed.plan)
    assert len(resumed.drawn) == 20
    assert_same(found, run(tmp_path / "whole", CarryingOver(), CarryingOver.plan))


def test_fewer_cells_than_a_batch_make_one_batch():
    assert len(batch_rows(3, 5, Plan(iterations=10, batch=8))) == 5


def test_a_loss_that_is_no_number_is_said_with_its_iteration(tmp_path):
    task = Regression(rate=lambda i: 1e30)
    with pytest.raises(TrainingError, match=r"no longer finite before iteration 20 of 60"):
        run(tmp_path, task)


SCRIPT = """
import itertools, os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parents[1] / "helpers")]
from coos_mlflow._utils.signals import DeferredSignal
from test_training import Regression, run

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run behind "&"
note = DeferredSignal._note
def reporting(self, *arguments):
    note(self, *arguments)
    os.write(1, b"asked\\n")  # where the signal came, print may be at work
DeferredSignal._note = reporting

class Paused(Regression):
    drawn = itertools.count(1)

    def draw(self, rows, rng):
        if next(self.drawn) == 23:
            print("in the 23rd iteration", flush=True)
            sys.stdin.read()  # until the test closes it
        return super().draw(rows, rng)

run(Path(sys.argv[2]), Paused())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "code", "kept"),
    [
        ([signal.SIGKILL], -signal.SIGKILL, 20),
        ([signal.SIGTERM], -signal.SIGTERM, 23),
        # As MLflow ends its projects: Ctrl-C reaches both, and then it sends its own.
        ([signal.SIGINT, signal.SIGTERM], -signal.SIGINT, 23),
        # The same signal twice ends the process at once.
        ([signal.SIGINT, signal.SIGINT], -signal.SIGINT, 20),
    ],
)
def test_a_process_that_was_killed_goes_on(tmp_path, numbers, code, kept):
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path / "killed")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        begun = process.stdout.readline()
        for number in numbers[:-1]:
            process.send_signal(number)
            assert process.stdout.readline() == "asked\n"  # two of a kind at once would be one
        process.send_signal(numbers[-1])
        _, errors = process.communicate(timeout=PATIENCE)
    assert begun == "in the 23rd iteration\n", errors
    assert process.returncode == code, errors
    _, facts = read_tensors(tmp_path / "killed" / CHECKPOINT)
    assert facts["iteration"] == kept
    assert_same(run(tmp_path / "killed"), run(tmp_path / "whole"))
