"""What every source must do, on the small plates of `field_plates`."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from field_plates import MAKERS, Example

from coos_mlflow.errors import DataError
from coos_mlflow.fields.plate_images import PlateImages
from coos_mlflow.fields.sources.base import open_images, source_keys, sources

CUT_BYTES = 64


@pytest.fixture(params=source_keys())
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def example(key: str, tmp_path: Path) -> Example:
    assert key in MAKERS, f"{key} has no example in tests/helpers/field_plates.py"
    folder = tmp_path / "a plate"
    folder.mkdir()
    return MAKERS[key](folder)


@pytest.fixture
def images(example: Example) -> PlateImages:
    return open_images(str(example.location))


def test_a_plate_is_recognised_by_looking_and_by_one_source_alone(key, images):
    assert images.source == key


def test_fields_channels_and_pixel_size_are_those_that_were_written(example, images):
    found = [(field.well, field.number, field.time) for field in images.fields]
    assert found == sorted(example.counts)
    assert images.plates == (example.plate,)
    assert tuple(channel.name for channel in images.channels) == example.channels
    assert images.pixel_size_um == pytest.approx(example.pixel_size_um, rel=1e-6)
    assert not images.missing


def test_every_plane_is_read_back_exactly(example, images):
    for field in images.fields:
        written = example.counts[field.well, field.number, field.time]
        assert set(field.planes) == set(written)
        for place, plane in field.planes.items():
            counts = plane.read()
            assert counts.dtype == written[place].dtype
            np.testing.assert_array_equal(counts, written[place])


def test_planes_say_where_they_lie_and_change_their_stamp_with_the_file(example, images):
    planes = [plane for field in images.fields for plane in field.planes.values()]
    assert len({plane.place for plane in planes}) == len(planes)
    before = [plane.stamp() for plane in planes]
    assert len(set(before)) == len(planes)
    assert before == [plane.stamp() for plane in planes]
    cut(example)
    assert all(old != plane.stamp() for old, plane in zip(before, planes, strict=True))


def test_what_is_found_can_be_sent_to_another_process(images):
    assert pickle.loads(pickle.dumps(images)) == images


def test_no_pixel_is_read_to_list_the_fields(example):
    whole = open_images(str(example.location))
    cut(example)
    listed = open_images(str(example.location))
    assert [field.key for field in listed.fields] == [field.key for field in whole.fields]
    with pytest.raises(DataError):
        for field in listed.fields:
            for plane in field.planes.values():
                plane.read()


def cut(example: Example) -> None:
    """Cut the end off each file with pixels."""
    for path in example.images:
        path.write_bytes(path.read_bytes()[:-CUT_BYTES])


def test_a_missing_image_is_named_and_the_others_are_read(example, images):
    if not example.indexed:
        pytest.skip("no index names the images")
    lost = example.images[0]
    lost.unlink()
    found = open_images(str(example.location))
    assert [Path(plane.place).name for plane in found.missing] == [lost.name]
    assert [field.key for field in found.fields] == [field.key for field in images.fields]
    with pytest.raises(DataError, match=f"{lost.name}: is missing"):
        found.missing[0].read()
    planes = [plane for field in found.fields for plane in field.planes.values()]
    assert sum(plane not in found.missing for plane in planes) == len(planes) - 1
    assert all(plane.read().size for plane in planes if plane not in found.missing)


def test_the_pixel_size_can_be_given(example):
    assert open_images(str(example.location), pixel_size_um=0.25).pixel_size_um == 0.25


def test_the_source_can_be_given(key, example):
    assert open_images(str(example.location), key).source == key


@pytest.mark.parametrize("name", ["nothing", "empty", "notes.txt", ""])
def test_other_folders_and_files_are_not_recognised(key, tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no plate")
    location = str(tmp_path / name) if name else "\0"
    assert sources()[key].recognises(location) is False


def test_a_folder_without_images_is_refused_by_name(key, tmp_path):
    with pytest.raises(DataError) as said:
        open_images(str(tmp_path), key)
    assert str(tmp_path) in str(said.value) and "\n" not in str(said.value)
