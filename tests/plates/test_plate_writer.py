"""Writing plates: whole or not at all, and the same bytes for the same cells."""

from __future__ import annotations

import errno
import io
import os
import pkgutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from coos_mlflow._utils.signals import SIGNALS
from coos_mlflow.errors import CoosError, DataError, OutputError
from coos_mlflow.plates.reader import PlateWriter, file_digest, open_plate


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_is_written_is_read_back(tmp_path, random_cells, dtype: str) -> None:
    cells = random_cells(150, dtype=dtype)
    labels, wells = np.arange(150) % 7, np.array([f"w{i % 5}ä" for i in range(150)])
    with PlateWriter(tmp_path / "p.h5", 150, dtype=dtype, attrs={"simulated": True}) as writer:
        for part in (slice(0, 100), slice(100, 101), slice(101, 150)):
            writer.append(cells[part], labels=labels[part], wells=wells[part], plates=None)
    with open_plate(tmp_path / "p.h5") as plate:
        (batch,) = plate.batches()
        assert plate.simulated and plate.plates is None
    assert batch.images.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(batch.images, cells)
    np.testing.assert_array_equal(batch.labels, labels)
    np.testing.assert_array_equal(batch.wells, wells)


def test_crops_and_names_of_classes(tmp_path, random_cells) -> None:
    cells = np.ascontiguousarray(random_cells(4)[..., :40, :40])
    with PlateWriter(tmp_path / "p.h5", 4, crop=40) as writer:
        writer.append(cells, labels=np.array(["Zelle µ", "", "ER", "ER"]))
    with open_plate(tmp_path / "p.h5") as plate:
        (batch,) = plate.batches()
        assert plate.class_names == ("ER", "Zelle µ")
    assert batch.labels.tolist() == [1, -1, 0, 0]
    np.testing.assert_array_equal(batch.images, cells)
    with (
        pytest.raises(DataError, match=r"crops of 64 pixels, expected \(N, 2, 40, 40\)"),
        PlateWriter(tmp_path / "q.h5", 4, crop=40) as writer,
    ):
        writer.append(random_cells(4))


def test_the_layout_is_the_published_one(make_plate) -> None:
    with h5py.File(make_plate(n=100)) as file:
        assert set(file) == {
            "data", "labels", "plateIDs", "wellIDs", "dateIDs", "microscopeIDs",
        }  # fmt: skip
        assert file["data"].chunks == (64, 2, 64, 64)
        assert file["wellIDs"][0] == b"002003000"


def test_the_same_cells_give_the_same_bytes(make_plate) -> None:
    first, second = (file_digest(make_plate(name, seed=3)) for name in ("a.h5", "b.h5"))
    assert first == second != file_digest(make_plate("c.h5", seed=4))


def test_a_file_that_is_there_is_kept(make_plate, random_cells) -> None:
    path = make_plate()
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"plate\.h5: is there already; --force replaces it"):
        PlateWriter(path, 3).__enter__()
    with (
        pytest.raises(RuntimeError, match="halfway"),
        PlateWriter(path, 3, force=True) as writer,
    ):
        writer.append(random_cells(2))
        raise RuntimeError("halfway")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_force_replaces_a_file(make_plate, random_cells) -> None:
    path = make_plate(n=24)
    with PlateWriter(path, 3, force=True) as writer:
        writer.append(random_cells(3))
    with open_plate(path) as plate:
        assert plate.n_cells == 3


@pytest.mark.parametrize(
    ("cells", "columns", "sentence"),
    [
        (2, {}, "2 cells were written, expected 3"),
        (4, {}, "4 cells found, expected 3"),
        (3, {"labels": np.array([0, 1, -2])}, "label -2 of cell 2"),
        (3, {"labels": np.array([0, 1])}, r"labels of shape \(2,\), expected \(3,\)"),
        (3, {"wells": np.array(["x" * 300] * 3)}, "wells: the id of cell 0 has 300 characters"),
    ],
)
def test_nothing_is_left_of_a_faulty_plate(
    tmp_path, random_cells, cells: int, columns: dict[str, np.ndarray], sentence: str
) -> None:
    with (
        pytest.raises(DataError, match=sentence),
        PlateWriter(tmp_path / "p.h5", 3) as writer,
    ):
        writer.append(random_cells(cells), **columns)
    assert list(tmp_path.iterdir()) == []


def test_columns_come_always_or_never(tmp_path, random_cells) -> None:
    with (
        pytest.raises(DataError, match=r"columns \[\] found, expected \['labels'\]"),
        PlateWriter(tmp_path / "p.h5", 4) as writer,
    ):
        writer.append(random_cells(2), labels=np.zeros(2, int))
        writer.append(random_cells(2))


def test_counts_are_not_converted_silently(tmp_path, random_cells) -> None:
    with (
        pytest.raises(DataError, match="dtype float32 found, expected uint16"),
        PlateWriter(tmp_path / "p.h5", 2) as writer,
    ):
        writer.append(random_cells(2, dtype="float32"))
    with pytest.raises(DataError, match="dtype float64 asked for"):
        PlateWriter(tmp_path / "p.h5", 2, dtype="float64")


def test_only_cells_that_can_be_read_are_written(tmp_path, random_cells) -> None:
    cells = random_cells(3)
    cells[1, 0] = 9
    with (
        pytest.raises(DataError, match="cell 1, channel 0"),
        PlateWriter(tmp_path / "p.h5", 3) as writer,
    ):
        writer.append(cells)


@pytest.mark.parametrize("n_cells", [0, -1, 2**40])
def test_absurd_sizes(tmp_path, n_cells: int) -> None:
    with pytest.raises(DataError, match="cells asked for"):
        PlateWriter(tmp_path / "p.h5", n_cells)


def test_a_folder_that_cannot_hold_the_file(tmp_path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere/p.h5", tmp_path / "file/p.h5"):
        with pytest.raises(OutputError, match="cannot be written"):
            PlateWriter(path, 3).__enter__()
    with pytest.raises(OutputError, match="is a folder"):
        PlateWriter(tmp_path, 3, force=True).__enter__()


def test_a_full_disk(tmp_path, random_cells, small_disk) -> None:
    folder: Path = small_disk(400_000)
    noise = np.random.default_rng(0).integers(0, 65536, (100, 2, 64, 64)).astype(np.uint16)
    with (
        pytest.raises(OutputError, match=r"cannot be written \(no space left on the disk"),
        PlateWriter(folder / "p.h5", 100) as writer,
    ):
        writer.append(noise)
    assert list(folder.iterdir()) == []


def test_a_full_disk_at_the_last_write(tmp_path, random_cells, monkeypatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with (
        pytest.raises(CoosError, match="no space left on the disk"),
        PlateWriter(tmp_path / "p.h5", 2) as writer,
    ):
        writer.append(random_cells(2))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interrupted(number: int) -> Iterator[Callable[..., None]]:
    """The handler of a signal while the test lasts."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    yield interrupt
    signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_waits_for_the_end_of_a_write(
    tmp_path, random_cells, monkeypatch, number, interrupted
) -> None:
    finished = []

    class Interrupted(io.FileIO):
        error = None

        def write(self, data: bytes) -> int:
            os.kill(os.getpid(), number)
            finished.append(super().write(data))
            return finished[-1]

    monkeypatch.setattr("coos_mlflow.plates.hdf5.write.DeferredErrorFile", Interrupted)
    cells = np.tile(random_cells(8), (100, 1, 1, 1))  # more than HDF5 buffers
    with pytest.raises(KeyboardInterrupt), PlateWriter(tmp_path / "p.h5", 1600) as writer:
        writer.append(cells)
        writer.append(cells)
    assert finished
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is interrupted


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "moment", ["hdf5.write.DeferredErrorFile.__init__", "writer.set_attributes"]
)
def test_an_interrupt_while_a_plate_is_made_leaves_nothing(
    tmp_path, monkeypatch, number, interrupted, moment
) -> None:
    place = f"coos_mlflow.plates.{moment}"
    plain = pkgutil.resolve_name(place)

    def interrupting(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), number)
        return plain(*arguments, **options)

    monkeypatch.setattr(place, interrupting)
    with pytest.raises(KeyboardInterrupt), PlateWriter(tmp_path / "p.h5", 2):
        raise AssertionError("it was not interrupted")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) is interrupted


def test_a_file_that_hdf5_cannot_begin_leaves_nothing(tmp_path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("coos_mlflow.plates.hdf5.write.h5py.File", refused)
    with pytest.raises(CoosError, match="cannot be written"), PlateWriter(tmp_path / "p.h5", 2):
        raise AssertionError("it was begun")
    assert list(tmp_path.iterdir()) == []
