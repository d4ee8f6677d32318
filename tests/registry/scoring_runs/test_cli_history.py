"""`coos drift history` as a shell sees it: the table, JSON lines, the figure, what it refuses."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from coos_mlflow.cli import history, main
from coos_mlflow.errors import CoosError, DataError, OutputError, RegistryError


@pytest.fixture
def invoke(monkeypatch):
    """Factory ``invoke(*arguments)`` of `coos drift history`; what a user can mend is raised."""
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    history.register(app)

    def run(*arguments):
        done = CliRunner().invoke(app, ["drift", "history", *map(str, arguments)])
        if isinstance(done.exception, CoosError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return run


def lines_with(text: str, words: str) -> list[str]:
    return [line for line in text.splitlines() if words in line]


def test_the_table_shows_each_plate_in_eighty_columns(invoke, put, model):
    put("second.h5", "2026-02-01", verdict="cannot tell", distances=(), error=None, version=12)
    put("first.h5", "2026-01-31 09:05", verdict="shifted", distances=(1.0, 12.34, 3.3))
    text = invoke("--model", model).stdout
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert text.index("first.h5") < text.index("second.h5")
    (first,) = lines_with(text, "first.h5")
    for words in ("2026-01-31", " 1,600 ", "shifted", " 1.0 ", "12.3!", "3.3!", "4.0"):
        assert words in first
    assert "2.5–6.5" in text and "09:05" in text
    (second,) = lines_with(text, "second.h5")
    assert "cannot tell" in second and second.split().count("-") == 4
    assert "simulated" not in text


def test_simulated_plates_and_models_are_marked(invoke, put, model):
    put("plate.h5", simulated=(True, False))
    put("both.h5", simulated=(True, True), when="2026-01-02")
    put("real.h5", when="2026-01-03")
    text = invoke("--model", model).stdout
    (plate,), (both,), (real,) = (lines_with(text, f"{n}.h5") for n in ("plate", "both", "real"))
    assert plate.split()[-1] == "P" and both.split()[-1] == "PM"
    assert real.split()[-1] not in {"P", "M", "PM"}
    assert "simulated: P the plate, M what the model was trained on" in text


def test_names_cannot_speak_to_the_terminal(invoke, put, model):
    put("[red]\x1b[31m\u202ex.h5")
    text = invoke("--model", model).stdout
    assert "\x1b[31m" not in text and "\u202e" not in text and "[red]" in text


def test_json_gives_one_object_a_line_and_nothing_else(invoke, put, model, tmp_path):
    run_id = put("a.h5", "2026-01-01 12:00:01")
    put("b.h5", "2026-01-02", error=None, distances=(1.0,))
    done = invoke("--model", model, "--json", "--figure", tmp_path / "h.svg")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["run_id"] == run_id and first["date"] == "2026-01-01T12:00:01.000Z"
    assert (first["plate"], first["n_cells"], first["version"]) == ("a.h5", 1600, "1")
    assert (first["estimated_error"], first["estimated_error_high"]) == (4.0, 6.5)
    assert first["simulated_plate"] is False
    assert second["estimated_error"] is None and second["distance_raw"] is None
    assert "h.svg" in done.stderr and (tmp_path / "h.svg").exists()


def test_limit_since_and_version_choose(invoke, put, model):
    for day in (1, 2, 3):
        put(f"day{day}.h5", f"2026-01-0{day} 06:00", version=day)
    assert "day1" not in invoke("--model", model, "--limit", 2).stdout
    text = invoke("--model", model, "--since", "2026-01-03").stdout
    assert "day3" in text and "day2" not in text
    nothing = invoke("--model", model, "--since", "2026-01-04").stdout
    assert nothing.count("\n") == 1 and "2026-01-04" in nothing


def test_a_figure_is_written_beside_the_table(invoke, put, model, tmp_path):
    put()
    done = invoke("--model", model, "--figure", tmp_path / "h.png")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "h.png")
    with pytest.raises(OutputError, match="--force"):
        invoke("--model", model, "--figure", tmp_path / "h.png")
    invoke("--model", model, "--figure", tmp_path / "h.png", "--force")


def test_a_model_that_was_never_scored_is_one_sentence(invoke, model, tmp_path):
    done = invoke("--model", model, "--figure", tmp_path / "h.png")
    assert done.stdout.startswith(f"{model} has scored no plate yet in sqlite:///")
    assert done.stdout.count("\n") == 1 and not (tmp_path / "h.png").exists()
    quiet = invoke("--model", model, "--json")
    assert quiet.stdout == "" and "no plate yet" in quiet.stderr


def test_what_cannot_be_done_is_refused(invoke, tmp_path):
    with pytest.raises(RegistryError, match="no-such-model"):
        invoke("--model", "no-such-model")
    with pytest.raises(DataError, match="png"):
        invoke("--model", "no-such-model", "--figure", tmp_path / "h.gif")


def test_a_store_that_does_not_answer_is_named(invoke):
    uri = "sqlite:////proc/nowhere/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused.db")  # so that it is put back
        with pytest.raises(RegistryError, match="proc/nowhere"):
            invoke("--model", "shelf", "--tracking-uri", uri)


def test_the_command_and_its_options_explain_themselves():
    group = typer.main.get_command(main.app).commands["drift"]
    command = group.commands["history"]
    assert "Example: coos drift history" in command.help
    assert all(p.help for p in command.params if p.name != "help")


def test_a_real_scoring_is_in_the_history(invoke, trained, new_plate, tmp_path):
    from coos_mlflow.scoring.scorer import Scorer

    scored = Scorer.load("texture-lr").score(new_plate, tmp_path)
    lines = invoke("--model", "texture-lr", "--json").stdout.splitlines()
    last = json.loads(lines[-1])
    assert (last["run_id"], last["plate"]) == (scored.run_id, new_plate.name)
    assert (last["verdict"], last["n_cells"]) == (scored.drift["verdict"], scored.n_cells)
    (plate,) = scored.drift["plates"]
    for view, distance in plate["distances"].items():
        assert last[f"distance_{view}"] == pytest.approx(distance)
        assert last[f"usual_{view}"] == pytest.approx(plate["usual"][view])
    assert last["simulated_plate"] and last["simulated_model"]
