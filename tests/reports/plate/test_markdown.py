"""The report of a terminal: the answer first, aligned tables, nothing that is not text."""

from __future__ import annotations

import re
import unicodedata

import pytest

from coos_mlflow.reports.plate.markdown import WIDTH, laid_out, render_markdown
from coos_mlflow.reports.plate.summary import summarise
from coos_mlflow.reports.templating import escaped_markdown


def report_of(arguments, **more) -> str:
    return render_markdown(summarise(*arguments, **more))


def test_the_answer_comes_first(scored):
    lines = report_of(scored(simulated=(True, True))).splitlines()
    assert lines[0] == "# new\\_plate.h5: in range"
    assert lines[2].startswith("SIMULATED DATA")
    assert "**The labels can be used; about 5\xa0% are estimated to be wrong.**" in lines[:8]
    said = (
        "Balanced error, estimated (each class counts alike): 6\xa0% (4 to 10\xa0%); wrong "
        "labels: 5\xa0%, if each well holds one protein and all cells are of the 7 classes."
    )
    assert said in " ".join(lines[:22])


def test_cannot_tell_says_why(scored, make_entry):
    text = report_of(scored([make_entry(verdict="cannot tell", error=None)]))
    assert text.startswith("# new\\_plate.h5: cannot tell\n")
    assert "cannot tell. Few cells: any error from 3 to 60 % would fit." in " ".join(text.split())


def tables_of(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]


@pytest.mark.parametrize("n", [1, 12])
def test_tables_are_aligned_and_narrow(scored, make_entry, n):
    plates = [make_entry(f"a rather long name of plate {k}", "shifted", 30.0) for k in range(n)]
    drift, pictures = scored(plates)
    for entry in drift["error_record"]["estimators"] + drift["effects"]["statistics"]:
        entry["title"] += " under a title that goes on and on"
    drift["error_record"]["estimators"][0]["splits"]["test3"]["estimate"] = 0.1
    drift["command"] = "coos-score " + "plate.h5 " * 40
    text = render_markdown(summarise(drift, pictures))
    tables = tables_of(text)
    assert len(tables) == 9
    for lines in tables:
        assert len({len(line) for line in lines}) == 1
        assert len({line.count(" | ") for line in lines}) == 1
    assert max(len(line) for line in text.splitlines()) <= WIDTH


def test_columns_are_as_wide_as_their_widest_cell():
    rows = ["| a | bb | c |", "| --- | --: | --: |", "| one | 1 |  |", "| x\\|y | 12345 | d |"]
    assert laid_out("\n".join(rows)).splitlines() == [
        "| a    |    bb |   c |",
        "| ---- | ----: | --: |",
        "| one  |     1 |     |",
        "| x\\|y | 12345 |   d |",
    ]


def test_the_record_tells_which_estimator_is_used_and_by_how_much_it_was_off(scored):
    lines = report_of(scored()).splitlines()
    (used,) = [line for line in lines if line.startswith("| Estimator well")]
    assert "17.2 (-0.7)" in used
    (baseline,) = [line for line in lines if "baseline" in line]
    assert lines.index(baseline) == lines.index(used) + 2
    assert any("Used here: Estimator well\\_consensus." in line for line in lines)


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "*a* _b_ `c` [d](e) # |", "\u202eevil\0\x1b[31m", "z" * 10_000],
)
def test_hostile_names_are_text(scored, make_entry, name):
    drift, pictures = scored([make_entry(name, "shifted", 2.2), make_entry("b")], wells=(name,))
    drift["verdict"] = "in range"
    drift["plate_file"]["name"] = drift["model"]["trained_on"] = name
    text = render_markdown(summarise(drift | {"command": name}, pictures))
    assert not [
        letter for letter in text if unicodedata.category(letter)[0] == "C" and letter != "\n"
    ]
    assert not re.search(r"(?<!\\)[<`[]", text)
    assert "Above all, check the labels of plate" in text
    assert len({line.count("|") - line.count("\\|") for line in tables_of(text)[1]}) == 1
    assert max(len(line) for line in text.splitlines()) <= WIDTH


def with_texts_replaced(value, text):
    """Return a summary whose texts are all `text`, except keys that the template compares."""
    if isinstance(value, dict):
        keep = ("key", "view")
        return {k: v if k in keep else with_texts_replaced(v, text) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts_replaced(part, text) for part in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("n", [1, 2])
def test_every_text_of_the_summary_is_escaped(scored, make_entry, n):
    plates = [make_entry(str(k), "shifted", 2.2) for k in range(n)]
    drift, pictures = scored(plates, simulated=(True, True))
    drift["left_out"]["nameless"] = 3
    summary = summarise(drift | {"command": "coos-score plate.h5"}, pictures)
    text = render_markdown(with_texts_replaced(summary, "<b>`a`|[c](d)\n#\0"))
    assert text.count("a\\`\\|") > 100
    assert not re.search(r"(?<!\\)[<`\[]|\n#\0", text)


def test_escapes_are_those_of_commonmark():
    assert escaped_markdown("a_b*c<d>[e]|`\\#") == "a\\_b\\*c\\<d\\>\\[e\\]\\|\\`\\\\\\#"
