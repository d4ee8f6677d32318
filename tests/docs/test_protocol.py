"""docs/protocol.md says what the code does: its names, links, options, numbers and quotations."""

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from coos_mlflow.cli.main import app
from coos_mlflow.representations import create

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")

NAME = re.compile(r"coos_mlflow(?:\.\w+)+:\w+(?:\.\w+)*")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")

CLASSIFIERS = "classifiers"
"""What the table of presets calls the parameters of `Protocol`."""


def code_spans(text: str = TEXT) -> list[str]:
    """Everything between backticks, in one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def quotations() -> list[str]:
    """Everything between straight double quotes that is not code."""
    return re.findall(r'"([^"]+)"', re.sub(r"`[^`]*`", "", TEXT))


def plain(text: str) -> str:
    """Return a text without Markdown's marks, with single spaces."""
    return " ".join(re.sub(r"[*\\]", "", text).split())


def commands(program: str) -> list[list[str]]:
    """The words of every command in the document that begins with `program`."""
    return [shlex.split(span)[1:] for span in code_spans() if span.startswith(f"{program} ")]


def table(heading: str) -> Iterator[list[str]]:
    """The cells of the rows of the table under a heading, without its own two rows."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    for row in rows[2:]:
        yield [cell.strip() for cell in row.strip("|").split("|")]


def resolved(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters that typer reads from the words behind `coos`."""
    group = typer.main.get_command(app)
    verb = group.commands[words[0]]
    return verb.make_context(words[0], words[1:]).params


def options_of(verb: str) -> set[str]:
    command = typer.main.get_command(app).commands[verb]
    return {option for p in command.params for option in (*p.opts, *p.secondary_opts)}


def representation_class(key: str) -> type:
    return import_module(f"coos_mlflow.representations.{key}").REPRESENTATION


def test_it_holds_what_these_tests_look_for():
    assert len(set(NAME.findall(TEXT))) > 50
    assert len(quotations()) > 30
    assert len(commands("coos")) > 15 and len(commands("mlflow")) > 0
    assert all(f"## 3.{n} " in TEXT for n in range(1, 5)) and "## What differs on purpose" in TEXT


@pytest.mark.parametrize("name", sorted(set(NAME.findall(TEXT))))
def test_every_name_resolves(name):
    resolved(name)


def of_functions_and_classes() -> Iterator[tuple[str, str]]:
    """Each name of a function, method or class, and the name under which it was defined."""
    for name in sorted(set(NAME.findall(TEXT))):
        found = resolved(name)
        found = getattr(found, "fget", found)  # of a property
        if inspect.isfunction(found) or inspect.isclass(found):
            yield name, f"{found.__module__}:{found.__qualname__}"


def test_every_function_is_named_where_it_is_defined():
    """Not where it is imported, nor by a class that inherits it."""
    pairs = list(of_functions_and_classes())
    assert len(pairs) > 40
    assert [name for name, _ in pairs] == [defined for _, defined in pairs]


def test_every_link_leads_to_a_file_and_every_name_to_its_own():
    for text, target in LINK.findall(TEXT):
        if target.startswith("https://"):
            continue
        file = (DOCUMENT.parent / target.partition("#")[0]).resolve()
        assert file.exists(), target
        for name in NAME.findall(text):
            assert file == Path(inspect.getfile(import_module(name.partition(":")[0]))), name


def test_every_name_is_linked():
    linked = " ".join(text for text, _ in LINK.findall(TEXT))
    assert set(NAME.findall(TEXT)) == set(NAME.findall(linked))


@pytest.mark.parametrize("words", commands("coos"), ids=" ".join)
def test_every_command_is_understood(words):
    parsed(words)


def test_every_option_exists():
    known = options_of("train") | options_of("table3")
    alone = [span for span in code_spans() if span.startswith("--")]
    found = {option for span in alone for option in OPTION.findall(span)}
    assert found and found <= known, found - known


@pytest.mark.parametrize("words", [w for w in commands("coos") if "--set" in w], ids=" ".join)
def test_every_setting_is_taken(words):
    params = parsed(words)
    settings = dict(pair.split("=", 1) for pair in params["settings"])
    key = params["representation"]
    assert set(settings) <= set(inspect.signature(representation_class(key)).parameters)
    made = create(key, **{name: yaml.safe_load(value) for name, value in settings.items()})
    values = made.params()
    assert all(values[n] == yaml.safe_load(value) for n, value in settings.items() if n in values)


def test_every_parameter_of_an_entry_point_exists():
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    for words in commands("mlflow"):
        given = {word.split("=")[0] for before, word in pairwise(words) if before == "-P"}
        entry = dict(pairwise(words)).get("-e", "main")
        assert given <= set(entries[entry]["parameters"])
    # The opening paragraph: what --set takes, -P takes too, save for a network's layers.
    for words in commands("coos"):
        for name in (pair.split("=")[0] for pair in parsed(words).get("settings") or ()):
            assert name == "layers" or name in entries[words[1]]["parameters"], name


def test_the_table_of_presets_is_the_codes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    presets_table = import_module("presets_table")
    assert len(list(table("Presets"))) > 30
    assert presets_table.with_table(TEXT) == TEXT, "run `python scripts/presets_table.py`"


def test_the_table_of_numbers_is_the_codes():
    rows = list(table("Numbers"))
    assert len(rows) > 20
    for name, value, source in rows:
        (path,) = NAME.findall(name)
        assert resolved(path) == ast.literal_eval(value.strip("`")), path
        assert source


def test_every_quotation_is_the_papers(shared_file):
    paper = plain(shared_file("paper.md").read_text(encoding="utf-8"))
    for quotation in quotations():
        assert plain(quotation) in paper, quotation


def test_the_grid_is_the_papers(shared_file):
    """As the paper prints it: n_estimators = {20, 40, ...}, ..., max_depth = {1, ..., 'None'}."""
    from coos_mlflow.classifiers.forest_search import FOREST_GRID

    paper = plain(shared_file("paper.md").read_text(encoding="utf-8"))
    grid = re.search(r"parameter grid \((.*?)\), and selected", paper)
    assert grid
    found = {
        name: [None if value == "None" else value for value in ast.literal_eval(f"[{values}]")]
        for name, values in re.findall(r"(\w+) = \{([^}]*)\}", grid[1])
    }
    found["min_samples_split"] = found.pop("min_samples")
    assert found == FOREST_GRID
