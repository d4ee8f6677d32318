"""Plates written here are read by ngio, and those of Fractal's converters are read here.

ome-zarr-models 1.7, which ngio needs, does not install beside this package, since it needs an older
pydantic. So these packages get an environment of their own. s3fs, which does not install beside the
newest boto3, is in it too. Importing them takes seconds, so each is run once for several plates.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from coos_mlflow.fields.labelled_plates import NAME, write_labels
from coos_mlflow.fields.plate_images import Channel
from coos_mlflow.fields.sources import open_images
from coos_mlflow.fields.writers import WrittenField, write_plate

pytestmark = pytest.mark.slow

COLOURS = {"ER": "#e69f00", "Golgi": "#56b4e9"}

ROOT = Path(__file__).parents[2]
PHENIX = ROOT.parent / "shared/real/fields/harmony_phenix/BR00121482"
CHANNELS = (Channel("GFP", 488.0, 510.0), Channel("HOECHST 33342", 405.0, 450.0))
SHAPE = (270, 300)
INSTALL_SECONDS = 400
_CLEAN = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": ""}


class Environment:
    """An environment with the packages of Fractal."""

    def __init__(self, folder: Path):
        self.python = folder / "bin" / "python"
        self.newer = folder / "newer"

    def run(self, code: str, *arguments: object, newer: bool = False, **variables: str) -> str:
        """Run Python code and return what it prints; with the newest ngio where asked."""
        paths = {"PYTHONPATH": str(self.newer)} if newer else {}
        ran = subprocess.run(
            [self.python, "-W", "ignore", "-c", code, *map(str, arguments)],
            env={**os.environ, **_CLEAN, **paths, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        return ran.stdout


@pytest.fixture(scope="module")
def fractal(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("fractal")
    venv.create(folder, with_pip=True)
    made = Environment(folder)
    pip = [made.python, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
    packages = ["fractal-uzh-converters>=0.7", "defusedxml"]
    # The converters need an older ngio than the newest, whose other needs are the same.
    for asked in (packages, ["--no-deps", "--target", str(made.newer), "ngio>=1.1"]):
        try:
            subprocess.run([*pip, *asked], capture_output=True, check=True, timeout=INSTALL_SECONDS)
        except (subprocess.SubprocessError, OSError):
            pytest.skip("pip cannot install fractal-uzh-converters and ngio here")
    return made


def fields() -> list[WrittenField]:
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.int32)
    labels[10:20, 30:50], labels[200:220, 100:130] = 1, 2
    return [
        WrittenField("p7", well, n, rng.integers(0, 60_000, (2, *SHAPE), np.uint16), labels)
        for well in ("B03", "H12")
        for n in (1, 2)
    ]


def written(folder: Path, key: str) -> Path:
    return write_plate(
        folder,
        fields(),
        format=key,
        channels=CHANNELS,
        pixel_size_um=0.325,
        shape=(8, 12),
        simulated=True,
    )


def labelled(source: Path, out: Path) -> Path:
    images = open_images(str(source))
    full = pd.DataFrame({"class_name": ["ER", "ER"], "confidence": [0.75, 0.5]}, index=[1, 2])
    cells = [
        (field, fields()[0].labels, full if field.number == 1 else full.iloc[:0])
        for field in images.fields
    ]
    return write_labels(images, out, cells, colours=COLOURS)


READ_BY_NGIO = """
import json, sys
import ngio

found = {"version": ngio.__version__}
for location in sys.argv[1:]:
    plate = ngio.open_ome_zarr_plate(location)
    images = {}
    for path in plate.images_paths():
        image = plate.get_image(*path.split("/"))
        whole = image.get_image()
        table = image.get_table("predictions")
        images[path] = {
            "channels": list(image.channel_labels),
            "pixel": [whole.pixel_size.y, whole.pixel_size.x, whole.pixel_size.space_unit],
            "levels": image.levels,
            "sum": int(whole.get_array().astype("int64").sum()),
            "labels": sorted(image.list_labels()),
            "largest": int(image.get_label("predictions").get_array().max()),
            "of": table.reference_label,
            "rows": table.dataframe.reset_index().to_dict("list"),
        }
    rows = len(plate.concatenate_image_tables("predictions").dataframe)
    found[location] = {"images": images, "rows": rows}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return plates with labels, by the format of the plate that they were made of."""
    folder = tmp_path_factory.mktemp("plates")
    keys = ("ome_zarr", "ome_zarr_04", "harmony")
    return {key: labelled(written(folder / key, key), folder / f"{key}.zarr") for key in keys}


@pytest.mark.parametrize("newer", [False, True])
def test_ngio_reads_images_labels_and_tables(fractal, plates, newer):
    found = json.loads(fractal.run(READ_BY_NGIO, *plates.values(), newer=newer))
    assert found["version"].startswith("1.") is newer
    for key, folder in plates.items():
        check_read_by_ngio(found[str(folder)], [] if key == "harmony" else ["nuclei"])


def check_read_by_ngio(found: dict, own: list[str]) -> None:
    assert sorted(found["images"]) == ["B/03/1", "B/03/2", "H/12/1", "H/12/2"]
    assert found["rows"] == 4
    for one, (path, image) in zip(fields(), sorted(found["images"].items()), strict=True):
        assert image["channels"] == [channel.name for channel in CHANNELS]
        assert image["pixel"] == [pytest.approx(0.325), pytest.approx(0.325), "micrometer"]
        assert image["levels"] == 2
        assert image["sum"] == one.counts.sum()
        assert image["labels"] == [*own, NAME]
        assert (image["largest"], image["of"]) == (2, NAME)
        full = {"label": [1, 2], "class_name": ["ER", "ER"], "confidence": [0.75, 0.5]}
        expected = full if path.endswith("1") else {column: [] for column in full}
        assert image["rows"] == expected


# ome-zarr-models 1.7 refuses all arrays of 0.4, those that ngio writes too, so of 0.4 it checks
# metadata alone.
CHECK = """
import json, sys, warnings, zarr
from pathlib import Path
from ome_zarr_models.v05.hcs import HCS
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v04.hcs import HCSAttrs
from ome_zarr_models.v04.image import ImageAttrs
from ome_zarr_models.v04.image_label import ImageLabelAttrs
from ome_zarr_models.v04.well import WellAttrs

warnings.simplefilter("error", UserWarning)
HCS.from_zarr(zarr.open_group(sys.argv[1], mode="r"))
for name in ("nuclei", "predictions"):
    ImageLabel.from_zarr(zarr.open_group(f"{sys.argv[1]}/B/03/1/labels/{name}", mode="r"))

root = Path(sys.argv[2])
kinds = {"": HCSAttrs, "B/03": WellAttrs, "B/03/1": ImageAttrs}
kinds |= {f"B/03/1/labels/{name}": ImageLabelAttrs for name in ("nuclei", "predictions")}
for path, kind in kinds.items():
    kind.model_validate(json.loads((root / path / ".zattrs").read_text()))
"""


def test_the_metadata_are_as_the_specification_says(fractal, plates):
    fractal.run(CHECK, plates["ome_zarr"], plates["ome_zarr_04"])


CONVERT = """
import sys
from fractal_uzh_converters.operetta._utils import OperettaAcquisitionModel
from fractal_uzh_converters.operetta.api import convert_operetta
from ome_zarr_converters_tools import ConverterOptions

out, *sources = sys.argv[1:]
for source in sources:
    for version, tiling in (("0.4", "No Tiling"), ("0.5", "No Tiling"), ("0.5", "Auto")):
        options = ConverterOptions.model_validate(
            {"omezarr_options": {"ngff_version": version}, "tiling_strategy": {"mode": tiling}}
        )
        name = "_".join([source.rpartition("/")[2], version, tiling])
        model = OperettaAcquisitionModel(path=source, acquisition_id=0, plate_name=name)
        convert_operetta(zarr_dir=out, acquisitions=[model], converter_options=options)
"""


@pytest.fixture(scope="module")
def converted(fractal: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with plates that were converted from Harmony."""
    folder = tmp_path_factory.mktemp("converted")
    sources = [written(folder / "ours", "harmony")]
    if PHENIX.exists():
        shutil.copytree(PHENIX / "images", folder / "phenix" / "Images")
        sources.append(folder / "phenix")
    fractal.run(CONVERT, folder, *sources)
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_harmony_plate_that_fractal_converted_has_the_same_fields(converted, version):
    images = open_images(str(converted / f"ours_{version}_No Tiling.zarr"))
    assert images.source == "ome_zarr" and not images.notes
    assert [one.name for one in images.channels] == [one.name for one in CHANNELS]
    assert images.pixel_size_um == pytest.approx(0.325)
    found = [(one.well, one.number) for one in images.fields]
    assert found == [(one.well, one.number) for one in fields()]
    for one, read in zip(fields(), images.fields, strict=True):
        for place, counts in enumerate(one.counts):
            np.testing.assert_array_equal(read.planes[place, 1].read(), counts)


def test_fields_that_fractal_joined_are_one_field_of_the_well(converted):
    images = open_images(str(converted / "ours_0.5_Auto.zarr"))
    assert [one.well for one in images.fields] == ["B03", "H12"]
    joined = images.fields[0].planes[0, 1].read()
    height, width = SHAPE
    np.testing.assert_array_equal(joined[:height, :width], fields()[0].counts[0])
    np.testing.assert_array_equal(joined[:height, -width:], fields()[1].counts[0])


def test_a_plate_of_an_opera_phenix_that_fractal_converted_has_the_same_counts(converted):
    if not PHENIX.exists():
        pytest.skip("the real fields are not beside the repository (../shared/real/fields)")
    whole = open_images(str(converted / "phenix"))
    images = open_images(str(converted / "phenix_0.4_No Tiling.zarr"))
    assert [one.name for one in images.channels] == [one.name for one in whole.channels]
    assert images.pixel_size_um == pytest.approx(whole.pixel_size_um)
    for (place, _), plane in whole.fields[0].planes.items():
        np.testing.assert_array_equal(images.fields[0].planes[place, 1].read(), plane.read())


READ_HERE = """
import sys
from coos_mlflow.fields.sources import open_images

for address in sys.argv[1:]:
    images = open_images(address)
    total = sum(int(plane.read().sum()) for one in images.fields for plane in one.planes.values())
    print(images.source, len(images.fields), images.pixel_size_um, len(images.notes), total)
"""


def test_plates_in_a_bucket_of_s3_are_read(fractal, tmp_path):
    import boto3
    from moto.server import ThreadedMotoServer

    for key in ("ome_zarr", "ome_zarr_04"):
        written(tmp_path / f"{key}.zarr", key)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="plates")
        for path in tmp_path.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "plates", str(path.relative_to(tmp_path)))
        client.close()
        said = fractal.run(
            READ_HERE,
            "s3://plates/ome_zarr.zarr",
            "s3://plates/ome_zarr_04.zarr",
            PYTHONPATH=str(ROOT),
            AWS_ENDPOINT_URL=address,
            AWS_DEFAULT_REGION="us-east-1",
            **{name.upper(): value for name, value in keys.items()},
        )
    finally:
        server.stop()
    total = sum(int(one.counts.sum()) for one in fields())
    assert said.splitlines() == [f"ome_zarr 4 0.325 0 {total}"] * 2
