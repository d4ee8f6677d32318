"""Reading plates: batches, columns, types of numbers, and the real file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.columns import ID_DATASETS
from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.plates.labels import read_labels
from coos_mlflow.plates.reader import file_digest, open_plate


def write_raw(path: Path, images: np.ndarray, **datasets: object) -> Path:
    """A plate as somebody else's h5py script would write it."""
    with h5py.File(path, "w") as file:
        file["data"] = images
        for name, values in datasets.items():
            file[name] = values
    return path


def read_all(path: Path, size: int = 7) -> np.ndarray:
    with open_plate(path) as plate:
        return np.concatenate([batch.images for batch in plate.batches(size)])


def test_batches_hold_every_cell_once_in_order(make_plate, random_cells) -> None:
    path = make_plate(n=24)
    with open_plate(path) as plate:
        batches = list(plate.batches(10))
        wells = np.concatenate([batch.wells for batch in batches])
        assert [batch.start for batch in batches] == [0, 10, 20]
        assert [len(batch) for batch in batches] == [10, 10, 4]
        np.testing.assert_array_equal(wells, plate.wells)
    np.testing.assert_array_equal(
        np.concatenate([batch.images for batch in batches]), random_cells(24)
    )


def test_a_range_of_cells(make_plate, random_cells) -> None:
    with open_plate(make_plate(n=24)) as plate:
        batches = list(plate.batches(5, start=3, stop=11))
    assert [(batch.start, len(batch)) for batch in batches] == [(3, 5), (8, 3)]
    np.testing.assert_array_equal(batches[1].images, random_cells(24)[8:11])
    np.testing.assert_array_equal(batches[1].labels, np.arange(8, 11) % 7)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("uint16", "uint16"),
        (">u2", "uint16"),
        ("int16", "uint16"),
        ("int64", "uint16"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float32"),
        ("float16", "float32"),
    ],
)
def test_types_of_counts(tmp_path, random_cells, stored: str, read: str) -> None:
    images = random_cells(5) // 4 * 4
    path = write_raw(tmp_path / "p.h5", images.astype(stored))
    found = read_all(path)
    assert found.dtype == np.dtype(read) and found.dtype.isnative
    np.testing.assert_array_equal(found, images)


def test_a_plate_needs_only_data(tmp_path, random_cells) -> None:
    with open_plate(write_raw(tmp_path / "p.h5", random_cells(3))) as plate:
        assert plate.labels is None and not plate.simulated
        assert plate.missing == ("labels", *ID_DATASETS.values())
        (batch,) = plate.batches()
    assert batch.labels is None and batch.plates is None and batch.microscopes is None


@pytest.mark.parametrize(
    "ids",
    [
        np.array([b"59", b"109", b"7"]),
        np.array(["59", "109", "7"], dtype=h5py.string_dtype()),
        np.array([59, 109, 7], dtype=">i4"),
        np.array([59, 109, 7], dtype="u1"),
    ],
)
def test_ids_of_any_storage_become_text(tmp_path, random_cells, ids: np.ndarray) -> None:
    with open_plate(write_raw(tmp_path / "p.h5", random_cells(3), plateIDs=ids)) as plate:
        assert plate.plates is not None
        assert plate.plates.tolist() == ["59", "109", "7"]


def test_ids_that_do_not_print_are_escaped(tmp_path, random_cells) -> None:
    ids = np.array([b"a\x00b", b"\xff\xfe", "Zelle µ".encode(), b"\x1b[31m"])
    with open_plate(write_raw(tmp_path / "p.h5", random_cells(4), wellIDs=ids)) as plate:
        assert plate.wells is not None
        assert plate.wells.tolist() == ["a\\x00b", "\\xff\\xfe", "Zelle µ", "\\x1b[31m"]


def test_ids_are_read_in_blocks(tmp_path, random_cells, monkeypatch) -> None:
    monkeypatch.setattr("coos_mlflow.plates.hdf5.open_file._COLUMN_BLOCK_BYTES", 128)
    ids = np.array([f"w{i}" for i in range(11)], dtype="S")
    with open_plate(write_raw(tmp_path / "p.h5", random_cells(11), wellIDs=ids)) as plate:
        assert plate.wells is not None
        assert plate.wells.tolist() == [f"w{i}" for i in range(11)]


@pytest.mark.parametrize("dtype", ["float64", ">i4", "uint8"])
def test_labels_of_any_number_type(tmp_path, random_cells, dtype: str) -> None:
    labels = np.array([0, 6, 3], dtype=dtype)
    with open_plate(write_raw(tmp_path / "p.h5", random_cells(3), labels=labels)) as plate:
        assert plate.labels is not None and plate.labels.dtype == np.int64
        assert plate.labels.tolist() == [0, 6, 3]


def described(**values: object) -> Dataset:
    """Two classes with labels of their own, in crops of 64 pixels."""
    known = {
        "name": "own",
        "classes": [{"name": "ER", "label": 5}, {"name": "Early Endosome", "label": 2}],
        "crop": 64,
        "splits": [{"name": "all", "role": "train", "files": "*.h5"}],
    }
    return Dataset.from_dict(known | values, "here")


def test_labels_are_places_in_the_data_set(tmp_path, random_cells) -> None:
    path = write_raw(tmp_path / "p.h5", random_cells(4), labels=[2, 5, -1, np.nan])
    with open_plate(path, described()) as plate:
        assert plate.labels.tolist() == [1, 0, -1, -1]
        assert plate.class_names == ("ER", "Early Endosome")
    with open_plate(path) as plate:
        assert (plate.labels.tolist(), plate.class_names) == ([2, 5, -1, -1], None)


def test_labels_that_are_text(tmp_path, random_cells) -> None:
    """A name, an abbreviation or a number, in any case; missing ones have several spellings."""
    labels = ["early endosome", "ER", "EE", "5", "", "-1", "nan"]
    path = write_raw(tmp_path / "p.h5", random_cells(7), labels=labels)
    with open_plate(path, described()) as plate:
        assert plate.labels.tolist() == [1, 0, 1, 0, -1, -1, -1]
    with open_plate(path) as plate:
        names = [plate.class_names[label] if label >= 0 else "" for label in plate.labels]
        assert names == [*labels[:4], "", "", ""]
        (batch,) = plate.batches()
        assert batch.labels.tolist() == plate.labels.tolist()


@pytest.mark.parametrize("crop", [32, 48, 256])
def test_crops_of_other_sizes(tmp_path, random_cells, crop: int) -> None:
    images = np.tile(random_cells(3), (1, 1, 4, 4))[..., :crop, :crop]
    path = write_raw(tmp_path / "p.h5", images)
    with open_plate(path, described(crop=crop)) as plate:
        assert plate.crop == crop
        (batch,) = plate.batches()
    np.testing.assert_array_equal(batch.images, images)


@pytest.mark.parametrize("named_in", ["file", "data set"])
def test_two_of_four_channels_are_read(tmp_path, random_cells, named_in: str) -> None:
    cells = random_cells(6)
    images = np.stack([cells[:3, 0], cells[3:, 1], cells[3:, 0], cells[:3, 1]], axis=1)
    channels = ("actin", "nucleus", "tubulin", "protein")
    path = write_raw(tmp_path / "p.h5", images)
    if named_in == "file":
        with h5py.File(path, "a") as file:
            file.attrs["channels"] = np.bytes_(", ".join(channels))
    with open_plate(
        path, described(channels=channels) if named_in == "data set" else None
    ) as plate:
        (batch,) = plate.batches()
    np.testing.assert_array_equal(batch.images, images[:, [3, 1]])


def test_pixel_sizes_may_differ_by_5_percent(make_plate) -> None:
    path = make_plate(labels=None, attrs={"pixel_size_um": 0.325})
    for size in (None, 0.325, 0.325 * 1.04, 0.325 / 1.04):
        with open_plate(path, described(pixel_size=size)) as plate:
            assert plate.pixel_size == 0.325
    with pytest.raises(
        DataError, match=r"0\.325 micro.*expected 0\.65 as in own; scale .* by 0\.5 "
    ):
        open_plate(path, described(pixel_size=0.65))


def test_a_pixel_size_is_not_needed(make_plate) -> None:
    with open_plate(make_plate(labels=None), described(pixel_size=0.65)) as plate:
        assert plate.pixel_size is None


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": True, "compression": "lzf"},
        {"chunks": (5, 1, 64, 16), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (1, 2, 64, 64), "scaleoffset": 0},
        {},
    ],
)
def test_any_chunking_and_compression(tmp_path, random_cells, layout: dict[str, object]) -> None:
    images = random_cells(12)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.create_dataset("data", data=images, **layout)
    np.testing.assert_array_equal(read_all(tmp_path / "p.h5"), images)


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"chunks": True},
        {"maxshape": (None,)},
        {"chunks": (5,), "compression": "gzip"},
        {"chunks": (50,), "maxshape": (None,), "compression": "gzip"},
    ],
)
def test_text_of_variable_length_in_any_layout(tmp_path, random_cells, layout) -> None:
    ids = [f"well-{'x' * i}" for i in range(12)]
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(12)
        file.create_dataset("wellIDs", data=ids, dtype=h5py.string_dtype(), **layout)
    with open_plate(tmp_path / "p.h5") as plate:
        assert plate.wells is not None and plate.wells.tolist() == ids


def test_a_soft_link_inside_the_file_is_followed(tmp_path, random_cells) -> None:
    images = random_cells(3)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["deep/er/cells"] = images
        file["deep/link"] = h5py.SoftLink("./er")
        file["data"] = h5py.SoftLink("/deep/link/cells")
    np.testing.assert_array_equal(read_all(tmp_path / "p.h5"), images)


@pytest.mark.parametrize(
    ("value", "simulated"), [(True, True), (1, True), ("true", True), (False, False), ("no", False)]
)
def test_simulated_attribute(make_plate, value: object, simulated: bool) -> None:
    with open_plate(make_plate(attrs={"simulated": value, "seed": 7})) as plate:
        assert plate.simulated is simulated
        assert plate.attrs == {"simulated": value, "seed": 7}


def test_attributes_that_are_no_plain_values_are_left_out(tmp_path, random_cells) -> None:
    path = write_raw(tmp_path / "p.h5", random_cells(2))
    with h5py.File(path, "a") as file:
        file.attrs["big"] = np.zeros(1000)
        file.attrs["nothing"] = h5py.Empty("f4")
        file.attrs["free"] = "text of variable length"
        file.attrs["reference"] = file["data"].ref
        file.attrs["short"] = [1, 2]
    with open_plate(path) as plate:
        assert plate.attrs == {"short": [1, 2]}


def test_pixels_are_checked_as_they_stream(tmp_path, random_cells) -> None:
    images = random_cells(9, dtype="float32")
    images[6, 1, 5, 5] = np.nan
    with open_plate(write_raw(tmp_path / "p.h5", images)) as plate:
        stream = plate.batches(3)
        assert len(next(stream)) == len(next(stream)) == 3
        with pytest.raises(DataError, match=r"p\.h5:/data: cell 6, channel 1 \(nucleus\): nan"):
            next(stream)


def test_digest_is_sha256_of_the_bytes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("coos_mlflow.plates.reader._DIGEST_BYTES", 1000)
    content = bytes(range(256)) * 10
    (tmp_path / "f").write_bytes(content)
    seen: list[int] = []
    assert file_digest(tmp_path / "f", seen.append) == hashlib.sha256(content).hexdigest()
    assert seen == [1000, 1000, 560]


def test_digest_of_a_missing_file(tmp_path) -> None:
    with pytest.raises(DataError, match="gone"):
        file_digest(tmp_path / "gone")


def test_the_real_plate(shared_file) -> None:
    with open_plate(shared_file("real/yeast_cells.hdf5")) as plate:
        assert plate.n_cells == 1090
        assert plate.dtype == np.uint16
        assert plate.plates is not None and set(plate.plates) == {"AAC1", "AAC3", "AAP1"}
        assert sum(len(batch) for batch in plate.batches(256)) == 1090


def test_of_text_that_is_a_name_and_a_number_the_name_counts():
    classes = [{"name": "1", "label": 0}, {"name": "2", "label": 1}, {"name": "0", "label": 2}]
    splits = [{"name": "T", "role": "train", "files": "x"}]
    dataset = Dataset.from_dict({"name": "d", "classes": classes, "crop": 64, "splits": splits}, "")
    assert read_labels(np.array(["1", "2", "0"]), "", dataset).values.tolist() == [0, 1, 2]
    assert read_labels(np.array([1, 2, 0]), "", dataset).values.tolist() == [1, 2, 0]
