"""Conditions of a pipeline: what they mean, which are refused, how they end a scoring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from coos_mlflow.cli import score as cli_score
from coos_mlflow.errors import ConditionMetError, DataError, RunNotLoggedError
from coos_mlflow.registry import outbox
from coos_mlflow.scoring.conditions import parse, violations

CANNOT = {
    "balanced_error": None,
    "low": None,
    "high": None,
    "reason": "The range spans 40 points.",
}


def drift_of(verdict: str = "in range", error: object = 5.0) -> dict:
    estimate = error
    if isinstance(error, float):
        estimate = {"balanced_error": error, "low": error / 2, "high": 2 * error}
        estimate |= {"reason": "R.", "answer": "estimated"}
    return {"verdict": verdict, "plate_file": {"name": "new_plate.h5"}, "error": estimate}


def said(drift: dict, *texts: str) -> list[str]:
    return violations(drift, parse(texts))


@pytest.mark.parametrize("verdict", ["in range", "shifted", "cannot tell"])
@pytest.mark.parametrize("text", ["shifted", "cannot-tell"])
def test_a_verdict_is_met_by_itself_alone(verdict, text):
    expected = [f"new_plate.h5: {verdict} (--fail-on {text})"]
    met = verdict.replace(" ", "-") == text
    assert said(drift_of(verdict), text) == (expected if met else [])


def test_an_estimate_above_what_was_asked_is_named_with_its_range():
    assert said(drift_of(error=12.3), "error>5") == [
        "new_plate.h5: estimated balanced error 12.3 % (6.15 to 24.6 %) (--fail-on error>5)"
    ]


def test_a_measured_error_and_one_without_an_upper_end_are_named_as_such():
    measured = {"balanced_error": 12.3, "low": 9.0, "high": 16.0, "answer": "measured"}
    (words,) = said(drift_of(error=measured), "error>5")
    assert "measured balanced error 12.3 % (9 to 16 %)" in words
    at_least = drift_of(error=measured | {"answer": "at least", "high": None})
    for most in ("error>5", "error>12.3", "error>99"):  # nothing vouches that it is below
        (words,) = said(at_least, most)
        assert "balanced error at least 9 % (best guess 12.3 %), without an upper end" in words
    assert said(drift_of(error=measured), "error>12.3") == []


AUDIT = {"balanced_error": 3.0, "low": 1.0, "high": 8.0}


def test_a_measured_error_is_compared_by_its_upper_end():
    drift = drift_of("shifted", error=50.0) | {"audit": AUDIT}
    assert said(drift, "measured-error>8", "measured-error>99.5") == []
    assert said(drift, "measured-error>7.9") == [
        "new_plate.h5: measured balanced error 3 %, with 1 to 8 % possible "
        "(--fail-on measured-error>7.9)"
    ]
    assert said(drift, "error>20") != []  # as before: the estimate


def test_labels_of_a_person_come_before_control_wells():
    controls = {"balanced_error": 2.0, "low": 1.0, "high": 30.0, "answer": "measured"}
    drift = drift_of(error=controls)
    assert len(said(drift, "measured-error>29")) == 1
    assert said(drift, "measured-error>30") == []
    assert said(drift | {"audit": AUDIT}, "measured-error>29") == []


def test_what_was_not_measured_does_not_pass():
    unknown = AUDIT | {"balanced_error": None, "low": None, "high": None}
    for drift in (
        drift_of(error=1.0),
        drift_of() | {"audit": unknown},
        {**drift_of(), "error": None},
    ):
        (words,) = said(drift, "measured-error>100")
        assert "was not measured" in words


@given(st.floats(0, 100), st.integers(0, 1000))
def test_errors_are_compared_strictly(error, tenths):
    most = tenths / 10
    assert bool(said(drift_of(error=error), f"error>{most:.1f}")) is (error > most)


def test_what_could_not_be_estimated_does_not_pass():
    (words,) = said(drift_of(error=CANNOT), "error>100")
    assert "could not be estimated because: The range spans 40 points." in words
    without = drift_of()
    del without["error"]
    for drift in (without, drift_of(error=None)):
        (words,) = said(drift, "error>100")
        assert words == (
            "new_plate.h5: its balanced error could not be estimated (--fail-on error>100)"
        )


def test_only_what_was_asked_is_looked_at():
    assert said(drift_of("shifted", error=CANNOT), "cannot-tell") == []
    assert said(drift_of("cannot tell", error=1.0), "shifted", "error>5") == []
    assert said(drift_of("shifted", error=99.0)) == []
    assert said(drift_of("shifted", error=99.0), "never") == []


def test_several_conditions_are_each_named_once():
    met = said(drift_of("shifted", error=9.0), "shifted,error>5", "shifted", "cannot-tell")
    assert [words.rpartition("(")[2] for words in met] == [
        "--fail-on shifted)",
        "--fail-on error>5)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "Shifted", "in-range", "cannot tell", "shifted,", "error", "error>", "error>=5"),
        *("error>-1", "error>100.1", "error>nan", "error>1e1", "error>5%", "error<5", "error>٥"),
        *("measured-error", "measured-error>101", "measured>5", "measured-error>=5"),
    ],
)
def test_a_condition_that_is_not_understood_names_those_that_are(text):
    with pytest.raises(DataError) as caught:
        parse(["shifted", text])
    assert "shifted, cannot-tell, error>N" in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_bad_conditions_are_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(DataError, match="error>N"):
        cli_score.score(
            [str(tmp_path / "no.h5")], "no-such-model", tmp_path / "out", conditions=["maybe"]
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def score(trained, new_plate, tmp_path):
    def run(*conditions: str, plates: list[Path] | None = None) -> None:
        cli_score.score(
            [str(plate) for plate in plates or [new_plate]],
            "texture-lr",
            tmp_path,
            conditions=list(conditions),
        )

    return run


def test_every_plate_is_written_before_the_first_one_fails(score, new_plate, make_plate, tmp_path):
    # Random blobs, in two wells of two plates each: an error above 0 or none that can be told.
    other = make_plate("other.h5", n=60)
    with pytest.raises(ConditionMetError) as caught:
        score("error>0", plates=[new_plate, other])
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["new_plate.h5", "other.h5"]
    for name in ("new_plate", "other"):
        assert (tmp_path / name / "report.html").exists()


@pytest.mark.parametrize("keep_going", [False, True])
def test_plates_without_a_run_are_scored_shown_and_judged(
    trained, new_plate, make_plate, tmp_path, monkeypatch, capsys, keep_going
):
    def gone(_results):
        raise MlflowException("the store is gone")

    monkeypatch.setattr(outbox, "log_results", gone)
    plates = [str(new_plate), str(make_plate("other.h5", n=60))]

    def score(condition, force=False):
        cli_score.score(
            plates,
            "texture-lr",
            tmp_path,
            conditions=[condition],
            keep_going=keep_going,
            force=force,
        )

    with pytest.raises(RunNotLoggedError) as caught:
        score("never")
    assert [line.count("`coos sync`") for line in str(caught.value).splitlines()] == [1, 1]
    shown = capsys.readouterr().out
    assert shown.count("cells by predicted class") == shown.count("no MLflow run yet") == 2
    with pytest.raises(ConditionMetError) as caught:
        score("error>0", force=True)
    lines = str(caught.value).splitlines()
    assert [("--fail-on" in line, "`coos sync`" in line) for line in lines] == (
        [(True, False)] * 2 + [(False, True)] * 2
    )
    for note in outbox.pending_runs():
        note.forget()


def test_a_verdict_decides_as_drift_json_says(score, tmp_path):
    try:
        score("shifted", "cannot-tell")
        met = False
    except ConditionMetError:
        met = True
    verdict = json.loads((tmp_path / "new_plate" / "drift.json").read_text())["verdict"]
    assert met is (verdict != "in range")
