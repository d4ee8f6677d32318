"""The documents agree with the code: links, paths, commands, exit codes, columns, rooms."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from coos_mlflow import errors
from coos_mlflow._utils.signals import SIGNALS
from coos_mlflow.cli.main import app
from coos_mlflow.plates.flags import FLAGS
from coos_mlflow.scoring.predictions import schema_of
from coos_mlflow.scoring.wells_table import schema_of as wells_schema_of

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "deploy/README.md"],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.relative_to(ROOT)}")

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:coos_mlflow|tests|scripts|docs|deploy)/[\w./-]*)`")
INDENTED = re.compile(r"^ {4,}(coos(?:-score)? .*)$", re.MULTILINE)
ROOM = re.compile(r"^ +(\S+/|\w+\.py) {2,}\S", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its own two rows."""
    section = text_of(page).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command by its words behind `coos`."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", {})
        found |= {f"{name} {verb}": leaf for verb, leaf in below.items()} or {name: command}
    return found


@EVERY_PAGE
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@EVERY_PAGE
def test_every_path_exists(page):
    paths = PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def examples() -> list[tuple[str, str]]:
    found = [
        (page.name, line) for page in PAGES for line in INDENTED.findall(page.read_text("utf-8"))
    ]
    assert len(found) > 50
    return found


@pytest.mark.parametrize(("page", "line"), examples())
def test_every_command_is_understood(page, line):
    program, *words = shlex.split(line, comments=True)
    if program == "coos-score":
        words = ["score", *words]
    group = typer.main.get_command(app)
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    group.make_context(program, words)


def test_the_page_of_commands_has_an_example_of_each():
    lines = [
        line.replace("coos-score", "coos score")
        for line in INDENTED.findall(text_of("docs/cli.md"))
    ]
    assert len(commands()) > 18
    assert [name for name in commands() if not any(f"coos {name}" in line for line in lines)] == []


def test_the_page_of_commands_has_every_exit_code():
    raised = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    ended = {128 + number for number in SIGNALS}
    written = {
        int(code) for codes, _ in rows("docs/cli.md", "Exit codes") for code in codes.split(",")
    }
    assert written == {0} | raised | ended


def test_the_page_of_results_has_the_columns_of_predictions():
    kinds = {"string": "text", "float": "float32"}
    table = rows("docs/results.md", "predictions.parquet")
    written = [(name, kind) for names, kind, _ in table for name in re.findall(r"`(\w+)`", names)]
    first, last = written.index(("p_0", "float32")), written.index(("p_1", "float32"))
    assert last == first + 1
    written[first : last + 1] = [(f"p_{label}", "float32") for label in range(7)]
    plain = ((f.name, str(getattr(f.type, "value_type", f.type))) for f in schema_of(7))
    assert written == [(name, kinds.get(kind, kind)) for name, kind in plain]


def test_the_page_of_results_has_the_columns_of_wells():
    kinds = {"string": "text", "double": "float64"}
    table = rows("docs/results.md", "wells.parquet and wells.csv")[:12]
    written = [name for names, *_ in table for name in re.findall(r"`(\w+)`", names)]
    first, last = written.index("share_0"), written.index("share_0_high")
    assert written[first : last + 1] == ["share_0", "share_6", "share_0_low", "share_0_high"]
    ends = ("", "_low", "_high")
    written[first : last + 1] = [f"share_{label}{end}" for label in range(7) for end in ends]
    schema = wells_schema_of(7)
    assert written == schema.names
    types = {name: kind for names, kind, _ in table for name in re.findall(r"`(\w+)`", names)}
    for name in types.keys() & set(schema.names):
        kind = schema.field(name).type
        plain = str(getattr(kind, "value_type", kind))
        assert types[name] == kinds.get(plain, plain)


def test_the_page_of_plates_has_every_flag():
    written = [flag.strip("`") for flag, *_ in rows("docs/plates.md", "Cells that cannot be used")]
    assert written == ["(null)", *FLAGS[1:]]


def test_the_rule_of_imports_is_the_one_that_is_checked():
    settings = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in settings["contracts"] if c["type"] == "layers"]
    written = text_of("ARCHITECTURE.md").split("\n## The rule of imports\n")[1].split("\n## ")[0]
    (rule,) = re.findall(r"(?:^ {4}.*\n)+", written, re.MULTILINE)
    assert [layer.strip(" []") for layer in " ".join(rule.split()).split(" > ")] == layers


def test_the_tree_has_every_room():
    tree = text_of("ARCHITECTURE.md").split("```\ncoos_mlflow/\n")[1].split("```")[0]
    package = ROOT / "coos_mlflow"
    rooms = {f"{room.parent.name}/" for room in package.glob("*/__init__.py")}
    files = {file.name for file in package.glob("*.py")}
    named = set(ROOM.findall(tree))
    assert rooms | files <= named
    deeper = {f"{inner.parent.name}/" for inner in package.glob("*/*/__init__.py")}
    assert named <= rooms | files | deeper
