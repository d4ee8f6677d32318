"""The files of the table: complete, whole or not there, the same every time, safe to open."""

from __future__ import annotations

import csv
import html.parser
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from _coos7 import SPLITS

from coos_mlflow.errors import OutputError
from coos_mlflow.plates.dataset import coos7
from coos_mlflow.training.table3.files import files_of, markdown, page, write
from coos_mlflow.training.table3.summary import summarise

PICTURES = {"light": b"1", "dark": b"2"}


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_folder_holds_every_file_and_every_confusion(make_table, tmp_path):
    write(make_table(missing=("vgg16",)), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(files_of(coos7()))
    matrices = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("confusions/*/*.csv"))
    assert len(matrices) == 16 * 5
    rows = read_csv(tmp_path / "confusions" / "deeploc" / "test1.csv")
    assert rows[2]["true class"] == "Golgi"
    assert (rows[2]["Golgi"], rows[2]["Peroxisomes"]) == ("983", "17")


def test_the_same_table_gives_the_same_bytes(make_table, lines, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(make_table(lines[3:6], seeds=(0, 1)), tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 6 + 15
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_whether_a_row_was_trained_now_leaves_no_trace(make_table):
    table = make_table()
    recalled = [
        replace(e, rows=tuple(replace(row, trained=False) for row in e.rows)) for e in table.entries
    ]
    assert summarise(replace(table, entries=tuple(recalled))) == summarise(table)


def test_the_csv_has_a_line_for_each_row_and_split(make_table, tmp_path):
    write(make_table(missing=("pci",)), tmp_path)
    rows = read_csv(tmp_path / "table3.csv")
    assert [row["split"] for row in rows[:5]] == list(SPLITS)
    assert len(rows) == 125
    end_to_end = rows[3]
    assert (end_to_end["row"], end_to_end["model"]) == ("deeploc", "End-to-End")
    assert float(end_to_end["error"]) == pytest.approx(7.9)
    assert float(end_to_end["low"]) == pytest.approx(0.8 * 7.9)
    assert float(end_to_end["high"]) == pytest.approx(1.2 * 7.9)
    assert (end_to_end["n_seeds"], end_to_end["sd"], end_to_end["seeds"]) == ("1", "", "0")
    assert (end_to_end["published_on_coos7"], end_to_end["cells"]) == ("7.4", "7000")
    assert end_to_end["simulated"] == "True" and "difference" not in end_to_end
    missing = [row for row in rows if row["missing"]]
    assert len(missing) == 45 and {row["error"] for row in missing} == {""}
    assert missing[0]["published_on_coos7"] == "2.2"


def test_the_csv_gives_mean_deviation_and_every_seed(make_table, lines, tmp_path):
    write(make_table(lines[:1], seeds=(7, 8, 9)), tmp_path)
    row = read_csv(tmp_path / "table3.csv")[1]
    assert (row["n_seeds"], row["seeds"], row["low"]) == ("3", "7 8 9", "")
    assert float(row["error"]) == pytest.approx(2.7)
    assert float(row["sd"]) == pytest.approx(1)
    assert [float(e) for e in row["error_by_seed"].split()] == pytest.approx([1.7, 2.7, 3.7])


def test_only_on_coos7_the_csv_has_differences(make_table, lines, tmp_path):
    write(make_table(lines[:3], name="COOS-7", simulated=False), tmp_path)
    differences = [float(row["difference"]) for row in read_csv(tmp_path / "table3.csv")]
    assert differences == pytest.approx([0.5] * 15)


def test_recalls_and_commonest_confusions_are_tables(make_table, lines, tmp_path):
    write(make_table(lines[:2]), tmp_path)
    recalls = read_csv(tmp_path / "recalls.csv")
    assert len(recalls) == 10
    assert float(recalls[1]["Nuclear Envelope"]) == pytest.approx(0.983)
    common = read_csv(tmp_path / "common_confusions.csv")
    assert len(common) == 20
    assert [common[2][k] for k in ("split", "rank", "true_class", "called", "share")] == [
        "test1", "1", "Endoplasmic Reticulum", "Peroxisomes", "0.017",
    ]  # fmt: skip


def test_markdown_keeps_the_published_errors_in_a_column_of_their_own(make_table):
    text = re.sub(" +", " ", markdown(summarise(make_table(missing=("vgg16",)))))
    heads, marks, first = text.split("\n\n")[3].splitlines()[:3]
    assert heads.split(" | ")[-1] == "COOS-7, published: Train / Test1 / Test2 / Test3 / Test4 |"
    assert heads.count("|") == marks.count("|") == first.count("|") == 10
    assert first.endswith("| 1.2 / 1.2 / 1.5 / 7.4 / 5.4 |")
    ours = (
        "1.6 (1.3–1.9) | **1.6** (1.3–1.9) | **1.9** (1.5–2.3) | 8.2 (6.6–9.8) | **4.6** (3.7–5.5)"
    )
    assert f"| DeepLoc | FC2 | L1 LR | {ours} | 1.1 / **1.1** / **1.4** / 7.7 / **4.1** |" in text
    assert "| VGG16 | Conv3\\_3 | kNN | weights missing: coos weights vgg16 |" in text
    assert "**Simulated cells: no figure here says anything" in text
    assert "Difference" not in text


def test_seeds_stand_before_the_table_in_every_text(make_table, lines):
    for seeds, words in [((3,), "Seed 3. Intervals"), ((4, 5), "over n = 2 seeds (4, 5)")]:
        summary = summarise(make_table(lines[:1], seeds=seeds))
        assert words in markdown(summary).split("\n\n")[2]
        assert words in page(summary, PICTURES).split("<table")[0]


HOSTILE = "<script>alert(1)</script>|`x`**b**\n# [a](b) \u202eevil\0"


def hostile_table(make_table, lines):
    texture = lines[5]
    line = replace(texture, features=HOSTILE, layer_title=HOSTILE)
    return make_table([line], name=HOSTILE, simulated=False)


def test_hostile_names_are_no_markdown(make_table, lines):
    text = markdown(summarise(hostile_table(make_table, lines)))
    assert "<script" not in re.sub(r"\\.", "", text)
    assert "\n# [" not in text and "\0" not in text and "\u202e" not in text
    table = text.split("\n\n")[2].splitlines()
    assert len(table) == 3
    assert len({re.sub(r"\\.", "", line).count("|") for line in table}) == 1


class Page(html.parser.HTMLParser):
    """Counts elements and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in {"meta", "img", "source"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(table) -> Page:
    return Page(page(summarise(table), PICTURES))


def test_hostile_names_come_out_of_the_page_as_text(make_table, lines):
    hostile = page_of(hostile_table(make_table, lines))
    harmless = page_of(make_table([lines[5]], name="mine", simulated=False))
    assert set(hostile.tags) == set(harmless.tags)
    assert "script" not in hostile.tags
    assert "<script>alert(1)" in hostile.text
    assert "\0" not in hostile.text and "\u202e" not in hostile.text


def test_the_page_asks_nothing_of_the_network(make_table):
    text = page(summarise(make_table()), PICTURES)
    found = Page(text)
    assert not {"script", "link", "iframe"} & set(found.tags)
    sources = [value for name, value in found.attributes if name in {"src", "srcset", "href"}]
    assert len(sources) == 2
    assert all(str(value).startswith("data:image/png;base64,") for value in sources)
    assert "url(" not in text and "@import" not in text
    assert len(text.encode()) < 1_500_000


def test_the_page_has_every_matrix_and_says_what_is_simulated(make_table):
    found = page_of(make_table(missing=("vgg16",)))
    assert found.tags["details"] == 16
    assert found.attributes.count(("class", "matrix")) == 16 * 5
    assert found.attributes.count(("class", "g missing")) == 9
    assert "COOS-7, published" in found.text and "Difference" not in found.text
    assert found.text.count("Simulated cells: no figure here") == 1
    words = "Endoplasmic Reticulum called Peroxisomes, 1.7 % of its cells"
    assert words in found.text
    assert ("title", "Golgi called Perox: 17") in found.attributes


def test_the_page_of_coos7_has_differences_and_no_banner(make_table):
    found = page_of(make_table(name="COOS-7", simulated=False))
    assert "Difference" in found.text and "Simulated" not in found.text


def test_a_foreign_file_keeps_its_folder(make_table, tmp_path):
    from coos_mlflow._utils.files import whole_folder

    out, files = tmp_path / "out", files_of(coos7())
    for _ in range(2):
        with whole_folder(out, True, files) as folder:
            write(make_table([]), folder)
    (out / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match=r"mine\.txt"), whole_folder(out, True, files):
        pass
    assert (out / "mine.txt").exists()
