"""Every registered model is served, in this environment and in the one that it records."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import requests
from packaging.requirements import Requirement
from waiting import PATIENCE, free_port, wait_until

from coos_mlflow.errors import DataError, RegistryError, ServerError
from coos_mlflow.scoring.remote import packed, retrying_session, score_plate
from coos_mlflow.scoring.scorer import Scorer
from coos_mlflow.serving import route
from coos_mlflow.serving.limits import NPY

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("name", ["texture-knn", "texture-lr", "texture-rf"])
def test_the_table_of_a_served_model_is_that_of_the_scorer(
    trained, served_here, new_plate, tmp_path, name
):
    scored = Scorer.load(name).score(new_plate, tmp_path)
    told = []
    served = score_plate(
        new_plate, served_here(scored.model.uri), batch=64, on_progress=told.append
    )
    expected = pd.read_parquet(scored.folder / "predictions.parquet")
    pd.testing.assert_frame_equal(served, expected, check_exact=True)
    assert told == [64, 64, 32]


def test_a_server_process_answers_as_the_scorer(server, trained, new_plate, tmp_path):
    scored = Scorer.load("texture-lr").score(new_plate, tmp_path)
    expected = pd.read_parquet(scored.folder / "predictions.parquet")
    pd.testing.assert_frame_equal(score_plate(new_plate, server.url), expected, check_exact=True)


def test_what_the_server_refuses_is_told_as_its_sentence(server, make_plate, monkeypatch):
    plate = make_plate()
    monkeypatch.setattr(
        "coos_mlflow.scoring.remote.packed", lambda images: packed(images // 60_000)
    )
    with pytest.raises(DataError, match=r"/invocations: the request: cell 0, .*in every pixel"):
        score_plate(plate, server.url)


def test_who_is_no_server_of_ours_is_said(make_plate, serving):
    with pytest.raises(ServerError, match=r"no answer \(ConnectionError\); is `mlflow"):
        score_plate(make_plate(), f"http://127.0.0.1:{free_port()}", session=requests.Session())
    with pytest.raises(DataError, match="batch=0 found"):
        score_plate(make_plate(), "http://127.0.0.1:1", batch=0)


def test_a_busy_server_is_asked_again(trained, served_here, cells, make_plate, monkeypatch):
    """Requests that find no room are told so, and the client comes back."""
    url = served_here(trained.row("texture-lr").model.uri)
    monkeypatch.setattr(route, "MAX_AT_ONCE", 0)
    answer = requests.post(f"{url}/invocations", packed(cells), headers={"Content-Type": NPY})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    waited = []

    def make_room(*_):
        waited.append(1)
        monkeypatch.setattr(route, "MAX_AT_ONCE", 1)

    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", make_room)
    assert len(score_plate(make_plate(n=5), url, session=retrying_session())) == 5
    assert waited == [1]


def test_a_server_that_fails_says_no_more_than_that(
    trained, served_here, cells, monkeypatch, caplog
):
    from coos_mlflow.model.cell_model import CellModel

    url = served_here(trained.row("texture-lr").model.uri)

    def broken(self, images):
        raise RuntimeError("secret of /home/somebody")

    monkeypatch.setattr(CellModel, "score", broken)
    answer = requests.post(f"{url}/invocations", packed(cells), headers={"Content-Type": NPY})
    assert answer.status_code == 500
    assert answer.json()["message"] == "The server failed on this request; its log says why."
    assert "secret" in caplog.text


def test_a_server_that_makes_its_app_otherwise_answers_nothing(trained, monkeypatch):
    """Where the guard has no hold, a cell is refused rather than cast."""
    from mlflow.pyfunc import scoring_server

    monkeypatch.setattr(scoring_server, "invocations", scoring_server.invocations)
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc.scoring_server.app", sys)
    import fastapi

    monkeypatch.setattr(fastapi, "FastAPI", fastapi.FastAPI)
    mlflow.pyfunc.load_model(trained.row("texture-lr").model.uri)
    with pytest.raises(RegistryError, match=r"not one that coos-mlflow can guard"):
        scoring_server.invocations(b"{}", "application/json", None, None)


@pytest.fixture(scope="session")
def bare_python(trained, tmp_path_factory) -> Path:
    """A Python with what a model's requirements.txt asks for, and without this package.

    The packages are links to those that are installed here, so nothing is fetched.
    """
    files = Path(mlflow.artifacts.download_artifacts(trained.row("texture-lr").model.uri))
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in _closure((files / "requirements.txt").read_text().split()):
        for path in _files_of(name):
            if not (site / path.name).exists():
                (site / path.name).symlink_to(path)
    return folder / "venv" / "bin" / "python"


def _closure(lines: list[str]) -> set[str]:
    """Return the names of packages, and of all that they require."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        needed = waiting.pop()
        if needed.name.lower() in found or (
            needed.marker and not needed.marker.evaluate({"extra": ""})
        ):
            continue
        found.add(needed.name.lower())
        try:
            waiting += [Requirement(line) for line in requires(needed.name) or []]
        except PackageNotFoundError:
            continue
    return found


def _files_of(name: str) -> set[Path]:
    from importlib.metadata import distribution

    try:
        found = distribution(name)
    except PackageNotFoundError:
        return set()
    root = Path(str(found.locate_file("")))
    tops = {
        file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")
    }
    return {root / top for top in tops}


@pytest.mark.slow
def test_a_model_answers_where_the_package_and_torch_are_not_installed(
    bare_python, trained, cells, tmp_path
):
    missing = subprocess.run(
        [bare_python, "-c", "import mlflow\nimport coos_mlflow"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'coos_mlflow'" in missing.stderr
    model = trained.row("texture-lr").model.uri
    asked, answer = tmp_path / "asked.json", tmp_path / "answer.json"
    asked.write_text(json.dumps({"inputs": cells.tolist()}))
    command = [
        bare_python,
        "-m",
        "mlflow",
        "models",
        "predict",
        "-m",
        model,
        "--env-manager",
        "local",
    ]
    command += ["-i", asked, "-o", answer, "-t", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = pd.DataFrame(json.loads(answer.read_text())["predictions"])
    expected = mlflow.pyfunc.load_model(model).predict(cells)
    pd.testing.assert_frame_equal(said, expected, check_exact=True)


def test_the_dockerfile_of_a_model_installs_what_it_records_and_nothing_else(trained, tmp_path):
    command = [BIN / "mlflow", "models", "generate-dockerfile", "-d", tmp_path / "image"]
    command += ["-m", trained.row("texture-lr").model.uri]
    subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    said = (tmp_path / "image" / "Dockerfile").read_text()
    (model,) = (tmp_path / "image").rglob("MLmodel")
    files = {path.name for path in model.parent.iterdir()}
    assert {"requirements.txt", "code", "artifacts", "python_env.yaml"} <= files
    wanted = (model.parent / "requirements.txt").read_text()
    assert "torch" not in wanted and "coos" not in wanted
    assert all("==" in line for line in wanted.split())
    assert (model.parent / "code" / "coos_mlflow" / "__init__.py").is_file()
    runs = [line for line in said.splitlines() if line.startswith(("RUN", "ENTRYPOINT", "FROM"))]
    installs = [line for line in runs if "install" in line]
    assert [line.partition(" ")[2].split()[0] for line in installs] == ["apt-get", "pip", "python"]
    assert installs[0].endswith("install -y --no-install-recommends nginx")
    assert installs[1] == f"RUN pip install mlflow=={mlflow.__version__}"
    assert "C._install_pyfunc_deps('/opt/ml/model', install_mlflow=False" in installs[2]
    assert runs[0].startswith("FROM python:3.") and "C._serve('local')" in runs[-1]


def test_requests_that_nobody_waits_for_any_more_still_count_and_are_not_scored(
    trained, served_here, cells, monkeypatch
):
    """MLflow's time limit ends the waiting, not the thread."""
    from coos_mlflow.model.cell_model import CellModel

    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "4")
    monkeypatch.setattr(route, "MAX_AT_ONCE", 3)
    url = served_here(trained.row("texture-lr").model.uri)
    score, go_on, scored = CellModel.score, threading.Event(), []

    def slow(self, images):
        scored.append(len(images))
        assert go_on.wait(PATIENCE)
        return score(self, images)

    monkeypatch.setattr(CellModel, "score", slow)

    def post(n=2):
        headers = {"Content-Type": NPY}
        body = packed(cells[:n])
        return requests.post(
            f"{url}/invocations", body, headers=headers, timeout=PATIENCE
        ).status_code

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(post, [2, 2, 2])) == [504] * 3
    assert post() == 503
    go_on.set()
    answers = []
    wait_until(lambda: answers.append(post(5)) or answers[-1] not in (503, 504))
    assert answers[-1] == 200
    assert scored[0] == 2 and {*scored[1:]} == {5}
