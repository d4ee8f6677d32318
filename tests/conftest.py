"""What every test may use: plausible cells and small plate files, made without the simulator."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from _coos7 import CELL_SHAPE, CLASSES
from hypothesis import HealthCheck, settings
from stores import forget_experiment

from coos_mlflow.plates.reader import PlateWriter

if TYPE_CHECKING:
    from coos_mlflow.training.train import Row

REPOSITORY = Path(__file__).resolve().parents[1]

# How long an example takes says more about the machine than about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def random_cells(n: int, seed: int = 0, dtype: str = "uint16") -> np.ndarray:
    """Two blobs on a noisy background of about 200 counts, shape (n, 2, 64, 64)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    centre = rng.uniform(26, 38, (n, 2, 2, 1, 1))
    width = rng.uniform(5, 11, (n, 2, 1, 1))
    distance2 = (y - centre[:, :, 0]) ** 2 + (x - centre[:, :, 1]) ** 2
    light = 200 + rng.uniform(500, 3000, (n, 2, 1, 1)) * np.exp(-distance2 / (2 * width**2))
    counts = rng.poisson(light).clip(0, 65535)
    assert counts.shape == (n, *CELL_SHAPE)
    return counts.astype(dtype)


def plate_columns(n: int, n_plates: int = 2, n_wells: int = 3) -> dict[str, np.ndarray]:
    """Labels and ids of n cells, sorted by plate and well as in COOS-7."""
    cell = np.arange(n)
    plate = cell * n_plates // n
    well = (cell * n_plates * n_wells // n) % n_wells
    return {
        "labels": cell % len(CLASSES),
        "plates": np.array(["59", "109", "116", "7"])[plate % 4],
        "wells": np.array([f"{2 + 5 * w:03d}{3 + w:03d}000" for w in range(n_wells)])[well],
        "dates": np.array(["2017-03-01", "2017-03-02", "2017-06-11", "2018-01-09"])[plate % 4],
        "microscopes": np.array(["1", "1", "1", "2"])[plate % 4],
    }


@pytest.fixture(name="random_cells")
def random_cells_fixture() -> Callable[..., np.ndarray]:
    """Factory ``random_cells(n, seed=0, dtype="uint16")`` -> (n, 2, 64, 64)."""
    return random_cells


@pytest.fixture
def make_plate(tmp_path: Path) -> Callable[..., Path]:
    """Factory of plate files; keywords that are columns replace them, None leaves one out."""

    def make(
        name: str = "plate.h5",
        n: int = 24,
        *,
        seed: int = 0,
        dtype: str = "uint16",
        images: np.ndarray | None = None,
        attrs: dict[str, Any] | None = None,
        **columns: np.ndarray | None,
    ) -> Path:
        images = random_cells(n, seed, dtype) if images is None else images
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        n, crop = len(images), images.shape[-1]
        with PlateWriter(path, n, crop=crop, dtype=images.dtype, attrs=attrs, force=True) as writer:
            writer.append(images, **(plate_columns(n) | columns))
        return path

    return make


@pytest.fixture
def shared_file() -> Callable[[str], Path]:
    """Find a file beside the repository, or skip the test."""

    def find(name: str) -> Path:
        path = REPOSITORY.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"{name} is not beside the repository")
        return path

    return find


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Factory ``small_disk(n_bytes)`` of folders on a disk of that size, where root may mount."""
    mounted: list[Path] = []

    def mount(n_bytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
        able = shutil.which("mount") is not None
        if not able or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("a small disk needs the right to mount one")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session", autouse=True)
def places_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches, data and the tracking store of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("COOS_CACHE", str(home / "cache"))
        patch.setenv("COOS7_HOME", str(home / "coos7"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # Whatever a test loads, it loads no pickle.
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.chdir(home)
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking store without runs: making one takes seconds, copying it none."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def use_store(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Factory ``use_store(folder)`` of fresh stores, in use from then on; returns their URI."""

    def use(folder: Path) -> str:
        uri = f"sqlite:///{shutil.copy(empty_store, folder / 'mlflow.db')}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        forget_experiment(monkeypatch)
        return uri

    return use


@pytest.fixture
def own_store(use_store: Callable[[Path], str], tmp_path: Path) -> str:
    """A fresh tracking store and registry for one test; its URI."""
    return use_store(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def one_version_of_what_all_share(places_of_their_own: None) -> Iterator[None]:
    """Fail a test file that leaves versions beside those of `trained` in the store of all files."""
    yield
    file = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
    if file.is_file():
        with closing(sqlite3.connect(file)) as store:
            numbers = store.execute(
                "SELECT version FROM model_versions WHERE name LIKE 'texture-%'"
            )
            assert {number for (number,) in numbers} <= {1}, "it needs a store of its own"


@pytest.fixture
def served_here() -> Iterator[Callable[[str], str]]:
    """Factory ``served_here(model_uri)`` of addresses of scoring servers, in threads of the test.

    Each is made by the module that `mlflow models serve` starts, and starts in a second.
    """
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    running: list[tuple[uvicorn.Server, threading.Thread]] = []
    patch = pytest.MonkeyPatch()

    def serve(model_uri: str) -> str:
        files = mlflow.artifacts.download_artifacts(model_uri)
        patch.setenv(scoring_server._SERVER_MODEL_PATH, files)
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        patch.setattr(scoring_server, "invocations", scoring_server.invocations)
        made = importlib.import_module("mlflow.pyfunc.scoring_server.app")
        del sys.modules["mlflow.pyfunc.scoring_server.app"]  # or every load would begin to serve
        server = uvicorn.Server(uvicorn.Config(made.app, port=0, log_level="critical"))
        thread = threading.Thread(target=server.run, daemon=True)
        running.append((server, thread))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield serve
    for server, thread in running:
        server.should_exit = True
        thread.join(10)
    patch.undo()


@dataclass(frozen=True)
class Trained:
    """A small simulated data set and the texture models registered on it."""

    data: Path
    rows: list[Row]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.model.name == name)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train and register the three texture models once for all tests."""
    from coos_mlflow.representations import create
    from coos_mlflow.simulate import simulate_dataset
    from coos_mlflow.training import train
    from coos_mlflow.training.data import choose

    data = tmp_path_factory.mktemp("simulated")
    simulate_dataset(data, scale=0.01, seed=1)
    overrides = {"search_samples": 2, "cv_folds": 2}
    rows = train.train_rows(create("texture"), choose(str(data)), overrides=overrides)
    return Trained(data, rows)


@pytest.fixture(scope="session")
def new_plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes on one simulated plate that no model has seen, 160 cells in 8 wells."""
    from coos_mlflow.simulate import simulate_plate

    path = tmp_path_factory.mktemp("plates") / "new_plate.h5"
    return simulate_plate(path, classes=[0, 6], seed=5, wells_per_class=4, cells_per_well=20)


@pytest.fixture(scope="session")
def cells(new_plate: Path) -> np.ndarray:
    """The first twelve of its cells, uint16 (12, 2, 64, 64)."""
    from coos_mlflow.plates.reader import open_plate

    with open_plate(new_plate) as plate:
        return next(plate.batches(12)).images
