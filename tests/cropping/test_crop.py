"""A plate of images becomes a plate file: whole, the same however it is made, and resumable."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plates_of_images import simulated_fields, written

from coos_mlflow._utils.cluster import connect, spreading_over
from coos_mlflow.cropping import crop as cropping
from coos_mlflow.cropping.crop import crop_plate
from coos_mlflow.cropping.job import CropJob
from coos_mlflow.cropping.plan import CellShape, CropOptions, open_plate_images, plan
from coos_mlflow.errors import DataError, OutputError
from coos_mlflow.fields.masks import mask_path
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.tiff_pages import read_page

CELLS = CellShape("COOS-7", 64, 0.3225)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a simulated plate: 2 wells, 2 fields each."""
    return written(tmp_path_factory.mktemp("plates") / "plate42", simulated_fields())


def job_of(images: Path, out: Path, **changes: object) -> CropJob:
    known = {name: changes.pop(name) for name in ("force", "keep_going") if name in changes}
    options = CropOptions(**changes)  # type: ignore[arg-type]
    return plan(open_plate_images(str(images), options), out, CELLS, options, **known)  # type: ignore[arg-type]


def content(job: CropJob) -> dict[str, bytes]:
    files = [job.out, *(path for path in job.folder.rglob("*") if path.is_file())]
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def cropped(images: Path, tmp_path_factory: pytest.TempPathFactory) -> CropJob:
    job = job_of(images, tmp_path_factory.mktemp("cropped") / "cells.h5")
    crop_plate(job)
    return job


def test_every_cell_of_the_file_lies_where_its_columns_say(cropped: CropJob) -> None:
    fields = {field.key: field for field in cropped.images.fields}
    with open_plate(cropped.out) as plate:
        batch = next(plate.batches(plate.n_cells))
        measured = plate.measurements
    assert len(batch) > 20
    for index in range(len(batch)):
        place = (int(measured["field"][index]), int(measured["time"][index]))
        field = fields[batch.plates[index], batch.wells[index], *place]
        y, x = (math.floor(measured[f"centre_{axis}"][index] + 0.5) for axis in "yx")
        for channel, place in enumerate((cropped.settings.protein, cropped.settings.nucleus)):
            counts = field.planes[place, 1].read()
            expected = counts[y - 32 : y + 32, x - 32 : x + 32]
            np.testing.assert_array_equal(batch.images[index, channel], expected)


def test_label_images_hold_the_nucleus_of_every_cell(cropped: CropJob) -> None:
    with open_plate(cropped.out) as plate:
        measured, wells = plate.measurements, plate.wells
    for field in cropped.images.fields:
        mask = read_page(mask_path(cropped.folder / "masks", field, cropped.images.plates))
        ours = (wells == field.well) & (measured["field"] == field.number)
        for number, area in zip(measured["object"][ours], measured["area_um2"][ours], strict=True):
            pixels = np.count_nonzero(mask == number)
            assert pixels * cropped.settings.image_pixel_um**2 == pytest.approx(area, rel=1e-4)


def test_the_counts_of_the_page_are_those_of_the_file(cropped: CropJob) -> None:
    facts = json.loads((cropped.folder / "fields.json").read_text())
    centres = pd.read_csv(cropped.folder / "centres.csv")
    with open_plate(cropped.out) as plate:
        assert plate.simulated
        assert plate.pixel_size == pytest.approx(0.3225)
        n_cells, wells = plate.n_cells, plate.wells
    totals = facts["totals"]
    assert totals["cells"] == n_cells == len(centres)
    assert totals["nuclei"] == n_cells + sum(totals["left_out"].values())
    for well in facts["wells"]:
        assert well["n_cells"] == np.count_nonzero(wells == well["well"])
    assert "simulated" in (cropped.folder / "fields.html").read_text().lower()


@pytest.mark.slow
def test_workers_of_a_cluster_write_the_same_bytes(
    images: Path, cropped: CropJob, tmp_path: Path
) -> None:
    job = job_of(images, tmp_path / "cells.h5")
    with connect("local", 2) as client, spreading_over(client):
        crop_plate(job)
    assert content(job) == content(cropped)


CODE = """
import sys, time
from coos_mlflow.cropping.parts import PartFolder
from coos_mlflow.cli.main import coos
write = PartFolder.write
def held(self, index, part):
    write(self, index, part)
    print("written", flush=True)
    if index:
        time.sleep(1000)
PartFolder.write = held
coos()
"""


@pytest.mark.slow
def test_a_killed_cropping_goes_on_and_writes_the_same_bytes(
    images: Path, cropped: CropJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(images, tmp_path / "cells.h5")
    import subprocess
    import sys

    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            CODE,
            "crop",
            str(images),
            str(job.out),
            "--crop-pixel-size",
            "0.3225",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not job.out.exists()
    assert not job.folder.exists()
    before = len(list(job.work.glob("*.npz")))
    assert before
    worked = []
    crop_field = cropping.crop_field
    monkeypatch.setattr(
        cropping, "crop_field", lambda *args: worked.append(args) or crop_field(*args)
    )
    crop_plate(job)
    assert len(worked) == len(job.images.fields) - before
    assert content(job) == content(cropped)
    assert not job.work.exists()


def test_the_same_images_are_not_cropped_again(
    cropped: CropJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cropping, "finish", None)  # fails where it is called
    again = crop_plate(cropped)
    assert again.facts["totals"]["cells"] > 0


def test_other_images_or_settings_do_not_replace_results_unless_forced(
    images: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "plate42"))
    job = job_of(copy, tmp_path / "cells.h5")
    crop_plate(job)
    before = content(job)
    with pytest.raises(OutputError, match=r"cells\.h5: is there already.*--force"):
        crop_plate(job_of(copy, job.out, nucleus_size="6-30"))
    first = next(copy.rglob("*GFP*.tif"))
    os.utime(first, (1, 1))
    with pytest.raises(OutputError, match="is there already"):
        crop_plate(job_of(copy, job.out))
    assert content(job) == before
    crop_plate(job_of(copy, job.out, force=True))
    assert not job.work.exists()


def test_a_damaged_field_is_named_and_with_keep_going_left_out(
    images: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "plate42"))
    damaged = sorted(path for path in copy.rglob("*GFP*.tif"))[1]
    damaged.write_bytes(damaged.read_bytes()[:2000])
    job = job_of(copy, tmp_path / "cells.h5")
    with pytest.raises(DataError, match=rf"{damaged.name}.*--keep-going leaves such fields out\."):
        crop_plate(job)
    assert not job.out.exists()
    assert not job.folder.exists()
    result = crop_plate(replace(job, keep_going=True))
    assert len(result.failed) == 1
    assert damaged.name in result.failed[0]
    assert result.facts["totals"]["failed"] == 1
    assert result.facts["totals"]["cells"] > 0
    with pytest.raises(DataError, match="--keep-going"):
        crop_plate(job)


def test_a_plate_without_nuclei_leaves_its_page_and_no_plate_file(tmp_path: Path) -> None:
    fields = [
        replace(field, counts=np.full_like(field.counts, 100), labels=np.zeros_like(field.labels))
        for field in simulated_fields(fields_per_well=1, classes=[0])
    ]
    job = job_of(written(tmp_path / "empty", fields), tmp_path / "cells.h5")
    with pytest.raises(DataError, match=r"no cell found in 1 fields.*fields\.html"):
        crop_plate(job)
    assert (job.folder / "fields.html").is_file()
    assert not job.out.exists()


def test_only_good_fields_give_cells_where_asked(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coos_mlflow.cropping import finish
    from coos_mlflow.fields.quality import Rule

    rule = Rule("many", "many nuclei", "nuclei", "number of nuclei", 0.5, above=True)
    monkeypatch.setattr(finish, "FIELD_RULES", (rule,))
    job = job_of(images, tmp_path / "cells.h5", keep="good")
    with pytest.raises(DataError, match="no cell found"):
        crop_plate(job)
    left_out = json.loads((job.folder / "fields.json").read_text())["totals"]["left_out"]
    assert left_out["field"] > 20


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"z": "best"}, r"--z 'best' found, expected max, focus or a number from 1\."),
        ({"keep": "some"}, r"--keep 'some' found, expected all or good\."),
        ({"nucleus_size": "30-4"}, r"--nucleus-size '30-4' found"),
        ({"nucleus_size": "big"}, r"--nucleus-size 'big' found"),
        ({"segmenter": "magic"}, r"--segmenter 'magic' found, expected one of"),
        ({"pixel_size": -1.0}, r"--pixel-size -1 found"),
        ({"crop_pixel_size": 5.0}, r"pixels of 0\.3225 micrometres found, expected 5"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(
    images: Path, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        job_of(images, tmp_path / "cells.h5", **changes)


def test_a_data_set_without_pixel_size_is_warned_of(images: Path, tmp_path: Path) -> None:
    opened = open_plate_images(str(images), CropOptions())
    job = plan(opened, tmp_path / "cells.h5", CellShape("lab", 64, None), CropOptions())
    assert "lab does not give the size of its pixels" in job.warnings[0]


def test_missing_images_are_counted_before_any_field_is_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = written(tmp_path / "plate42", simulated_fields(), "harmony")
    for image in sorted(plate.rglob("*ch2*.tiff"))[:2]:
        image.unlink()
    job = job_of(plate, tmp_path / "cells.h5")
    monkeypatch.setattr(cropping, "crop_field", None)  # fails where it is called
    with pytest.raises(DataError, match=r"ch2.*is missing.*as 2 images in all; --keep-going"):
        crop_plate(job)


def test_results_of_a_forced_cropping_hold_no_cells_of_an_earlier_one(
    images: Path, tmp_path: Path
) -> None:
    job = job_of(images, tmp_path / "cells.h5")
    crop_plate(job)
    nothing = job_of(images, job.out, nucleus_size="29-30", force=True)
    with pytest.raises(DataError, match="no cell found"):
        crop_plate(nothing)
    assert not job.out.exists()


def test_plates_at_different_addresses_are_different_and_their_note_says_what_is_compared(
    images: Path, tmp_path: Path
) -> None:
    options = CropOptions()
    opened = open_plate_images(str(images), options)
    jobs = []
    for address in ("https://a.org/plate.zarr", "https://b.org/plate.zarr"):
        remote = opened._replace(images=replace(opened.images, location=address))
        jobs.append(plan(remote, tmp_path / "cells.h5", CELLS, options))
    assert jobs[0].digest != jobs[1].digest
    assert "--force cuts cells out anew" in jobs[0].notes[-1]


def test_a_refusal_names_the_setting_that_differs(images: Path, tmp_path: Path) -> None:
    job = job_of(images, tmp_path / "cells.h5")
    crop_plate(job)
    with pytest.raises(OutputError, match=r"from other settings \(keep\); --force"):
        crop_plate(job_of(images, job.out, keep="good"))


def test_crops_of_other_pixels_show_the_same_place(images: Path, tmp_path: Path) -> None:
    """Fields are enlarged twice, so the middle of a crop is the mean around the centre."""
    job = job_of(images, tmp_path / "cells.h5", crop_pixel_size=0.16125)
    crop_plate(job)
    fields = {field.key: field for field in job.images.fields}
    with open_plate(job.out) as plate:
        batch = next(plate.batches(plate.n_cells))
        measured = plate.measurements
        assert plate.pixel_size == pytest.approx(0.16125)
    assert batch.plates is not None
    assert batch.wells is not None
    for index in range(0, len(batch), 5):
        field = fields[batch.plates[index], batch.wells[index], int(measured["field"][index]), 1]
        counts = field.planes[job.settings.nucleus, 1].read()
        y, x = (math.floor(measured[f"centre_{axis}"][index] + 0.5) for axis in "yx")
        around = counts[y - 8 : y + 8, x - 8 : x + 8].mean()
        middle = batch.images[index, 1, 16:48, 16:48].mean()
        assert middle == pytest.approx(around, rel=0.08)
