"""Files that instruments wrote, read with their wells, channels and sizes.

They lie in `../shared/real/fields` beside the repository; without them these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.fields.channels import choose_channels
from coos_mlflow.fields.plate_images import PlateImages
from coos_mlflow.fields.sources.base import open_images

FIELDS = Path(__file__).parents[3] / "shared" / "real" / "fields"
EXPORTED = "imagexpress_faim/ImageXpress_exported"

pytestmark = pytest.mark.skipif(
    not FIELDS.is_dir(), reason="the real fields are not beside the repository (../shared/real)"
)


def opened(name: str) -> PlateImages:
    return open_images(str(FIELDS / name))


def names(images: PlateImages) -> list[str]:
    return [channel.name for channel in images.channels]


def wells(images: PlateImages) -> list[str]:
    return [well for _, well in images.wells]


def test_a_plate_of_a_phenix_is_read_with_all_that_its_index_says():
    images = opened("harmony_phenix/BR00121482")
    assert images.source == "harmony" and images.plates == ("BR00121482",)
    assert names(images) == [
        *("Alexa 647", "Alexa 568", "488 long", "Alexa 488", "HOECHST 33342", "Brightfield")
    ]
    assert images.channels[4].excitation_nm == 405 and images.channels[4].emission_nm == 456
    assert images.pixel_size_um == pytest.approx(0.59798, rel=1e-4)
    assert images.shape == (16, 24) and wells(images) == ["A01"] and not images.missing
    for plane in images.fields[0].planes.values():
        counts = plane.read()
        assert counts.shape == (1080, 1080) and counts.dtype == "uint16" and counts.max() > 500
    assert choose_channels(images.channels, protein="Alexa 568")[:2] == (1, 4)


def test_an_index_alone_names_what_is_missing():
    images = opened("harmony_phenix/BR00122249")
    assert len(images.missing) == 6
    assert images.missing[0].path.name == "r01c01f01p01-ch1sk1fk1fl1.tiff"
    with pytest.raises(DataError, match="--nucleus is needed, since none of the channels"):
        choose_channels(images.channels)


def test_an_index_of_harmony_v7_names_channels_once():
    images = opened("harmony_phenix_v7_xml_only")
    assert names(images)[0] == "Alexa 488" and names(images)[5:] == ["HOECHST 33342", "Brightfield"]
    assert images.pixel_size_um == pytest.approx(0.29669, rel=1e-4)
    assert images.shape == (8, 12) and len(images.missing) == 7
    assert images.fields[0].time == 1


def test_two_plates_of_a_phenix_with_other_channels_are_not_one():
    with pytest.raises(DataError, match="have different channels"):
        opened("harmony_phenix")


def test_a_plate_of_one_channel_and_field_has_neither_in_its_names():
    images = opened(f"{EXPORTED}/9987_Plate_3420")
    assert images.source == "imagexpress" and images.plates == ("9987",)
    assert names(images) == ["DAPI"] and images.channels[0].emission_nm == 452
    assert images.pixel_size_um == 1.3672 and images.shape == (8, 12)
    assert [field.key for field in images.fields] == [("9987", "B02", 1, 1)]
    assert images.fields[0].planes[0, 1].read().shape == (256, 256)


def test_depths_are_read_and_their_projections_left_out():
    images = opened(f"{EXPORTED}/9987_Plate_3434")
    assert names(images) == ["DAPI", "FITC", "Texas Red"]
    assert [(field.well, field.number) for field in images.fields] == [
        *(("B02", 1), ("B02", 2), ("B03", 1), ("B03", 2))
    ]
    assert all(field.depths(0) == [1, 2] for field in images.fields)
    assert "12 projections are left out" in images.notes[0]


def test_times_are_read():
    images = opened(f"{EXPORTED}/9987_Plate_3435")
    assert names(images) == ["DAPI", "FITC"]
    assert sorted({field.time for field in images.fields}) == [1, 2]
    assert len(images.fields) == 8


def test_several_plates_in_one_folder_have_the_names_of_their_folders():
    images = opened(EXPORTED)
    assert images.plates == ("9987_Plate_3420", "9987_Plate_3434", "9987_Plate_3435")
    assert names(images) == ["DAPI", "FITC", "Texas Red"] and len(images.fields) == 13


def test_a_plate_of_metaxpress_needs_no_htd():
    images = opened("metaxpress_md_embl")
    assert images.source == "imagexpress" and images.plates == ("IM-Assays-EXP2",)
    assert [(field.well, field.number) for field in images.fields] == [("A01", 1), ("A02", 4)]
    assert names(images) == ["DAPI", "CY5"] and images.pixel_size_um == 0.645
    assert choose_channels(images.channels)[:2] == (1, 0)
    assert images.fields[0].planes[1, 1].read().shape == (884, 1183)


def test_a_cellvoyager_is_read_without_its_images_for_correction():
    images = opened("imagexpress_faim/CV8000")
    assert images.source == "cellvoyager" and wells(images) == ["D08", "E03", "F08"]
    assert names(images) == ["405 BP445/45", "488 BP525/50"]
    assert [channel.emission_nm for channel in images.channels] == [445, 525]
    assert images.pixel_size_um == 0.325 and images.shape == (8, 12) and not images.missing
    assert len(images.fields) == 12 and images.fields[0].depths(1) == [1, 2, 3, 4]
    assert images.fields[0].planes[0, 1].read().shape == (2000, 2000)
    assert choose_channels(images.channels, "488", "405")[:2] == (1, 0)


def test_a_folder_of_two_instruments_asks_which():
    with pytest.raises(DataError, match="looks like cellvoyager and imagexpress"):
        opened("imagexpress_faim")


def test_plain_tiffs_are_read_by_their_names():
    images = opened("bbbc014_tiff")
    assert images.source == "tiff_pattern" and wells(images) == ["A01", "A12"]
    assert names(images) == ["channel 1", "channel 2"] and images.pixel_size_um is None
    assert "Channel {channel}-*-{row}-{column}-00.tif" in images.notes[0]
    counts = images.fields[0].planes[0, 1].read()
    assert counts.shape == (1024, 1360) and counts.dtype == "uint8"
    asked = open_images(
        str(FIELDS / "bbbc014_tiff"),
        pattern="Channel {channel}-*-{row}-{column}-{field}.tif",
        pixel_size_um=0.645,
    )
    assert [(field.well, field.number) for field in asked.fields] == [("A01", 0), ("A12", 0)]
    assert asked.pixel_size_um == 0.645 and asked.notes == ()
