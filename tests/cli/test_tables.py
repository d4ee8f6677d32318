"""Tables as a narrow terminal shows them."""

from types import SimpleNamespace

import pytest
from _coos7 import SPLITS

from coos_mlflow.cli.tables import show_rows
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.plates.splits import TrainingData


def row(name: str, kind: str, trained: bool = True, layer: str = "fc2") -> SimpleNamespace:
    return SimpleNamespace(
        model=SimpleNamespace(name=name, version=12),
        kind=kind,
        layer=layer,
        trained=trained,
        errors=dict.fromkeys(SPLITS, 48.21),
        cv_error=12.34,
    )


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        row("deeploc", "own", trained=False),
        row("deeploc-knn", "knn"),
        row("vgg16-random-lr", "lr", trained=False, layer="conv3_3"),
    ]
    show_rows(rows, TrainingData(coos7(), {}, simulated=True))
    return capsys.readouterr().out


def test_an_end_to_end_row_names_no_layer(printed):
    (line,) = [line for line in printed.splitlines() if "End-to-End" in line]
    assert line.split("│")[2].strip() == "End-to-End"
    assert printed.count("fc2") == 1 and "kNN, fc2" in printed


def test_eighty_columns_are_enough_for_every_figure(printed):
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in printed
    assert printed.count("48.2") == 3 * len(SPLITS) and printed.count("12.3") == 3
