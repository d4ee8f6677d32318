"""The page is one small file without requests, and hostile names come out as text."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import re

import numpy as np
import pytest
from drift_json import NUMBER, numbers_in
from PIL import Image

from coos_mlflow.plates.dataset import coos7
from coos_mlflow.reports.plate import figures
from coos_mlflow.reports.plate.figures.cells import cell_picture
from coos_mlflow.reports.plate.figures.svg import SYMBOLS, reference_mark, round_ticks
from coos_mlflow.reports.plate.html import SIZE_LIMIT, render
from coos_mlflow.reports.plate.summary import summarise

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(html.parser.HTMLParser):
    """Collects elements and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data


def text_of(arguments) -> str:
    return render(summarise(*arguments))


def page_of(arguments) -> Page:
    return Page(text_of(arguments))


def test_the_answer_comes_first(scored):
    text = page_of(scored(simulated=(True, False))).text
    order = [
        "Simulated data", "In range", "The labels can be used", "Balanced error, estimated",
        "6\xa0%between 4 and 10", "wrong labels: 5\xa0%",
        "if each well holds one protein", "How far from the plates",
    ]  # fmt: skip
    places = [text.index(words, text.index("Simulated data")) for words in order]
    assert places == sorted(places)


@pytest.mark.parametrize("distance", [3.0, 30.0])
def test_an_estimate_far_outside_what_is_known_stands_back(scored, make_entry, distance):
    text = text_of(scored([make_entry(verdict="shifted", distance=distance)]))
    far = distance > 10
    assert ('class="estimate doubtful"' in text) == far
    assert "if each well holds one protein and all cells are of the 7 classes" in text


def test_every_section_is_there(scored, make_entry):
    page = page_of(scored([make_entry("a"), make_entry("b", "shifted", 3.0)]))
    ids = [attributes.get("id") for tag, attributes in page.elements if tag == "section"]
    assert ids == [
        "comparison", "plates", "error", "shares", "maps", "cells", "moves", "provenance",
    ]  # fmt: skip


def test_every_number_on_the_page_is_in_drift_json(scored, make_entry):
    """As it is there, rounded, or in percent; what the words of the template say apart."""
    drift, pictures = scored([make_entry(verdict="shifted", distance=2.9, error=14.0)])
    page = render(summarise(drift, pictures))
    body = page[page.index('<div class="figures">') : page.index("<script>")]
    known = np.array(sorted(numbers_in(drift)))
    known = np.abs(np.concatenate([known, 100 * known, 100 * (1 - known)]))
    unknown = set()
    for part in re.findall(r">([^<>]+)<", re.sub(r'<text class="tick".*?</text>', "", body)):
        for text in NUMBER.findall(part):
            digits = text.lstrip("-+×").replace(",", "")
            half = 0.5 * 10.0 ** -len(digits.partition(".")[2]) + 1e-9
            if np.abs(known - float(digits)).min() > half:
                unknown.add(text)
    assert unknown <= {"24", "8", "12", "96", "384", "80", "100", "0", "1"}


def test_the_svg_of_an_estimate_tells_value_and_range(scored):
    text = text_of(scored())
    assert "<title>This plate: 6\xa0% (4 to 10\xa0%)</title>" in text
    assert "<title>Golgi: 94\xa0% (90 to 97\xa0%)</title>" in text


def test_nothing_is_asked_of_the_network(scored):
    for tag, attributes in page_of(scored()).elements:
        assert tag not in {"link", "iframe", "object", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "xlink:href", "action", "data", "srcset"}:
                assert value.startswith("data:image/webp;base64,")
            if name == "href":
                assert value.startswith("#")
            assert name != "style" or "url(" not in value
    style = re.search(r"<style>(.*?)</style>", text_of(scored()), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_one_script_is_the_one_that_the_policy_names(scored):
    text = text_of(scored())
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    for word in ("fetch", "XMLHttpRequest", "innerHTML", "eval(", "import(", "http"):
        assert word not in script


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>--><svg/onload=alert(1)>",
    "</style></script></title><b onclick=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "\u202eevil\0",
    "z" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_come_out_as_text(scored, make_entry, name):
    drift, pictures = scored([make_entry(name), make_entry("b")], wells=(name, f"{name}2"))
    drift["plate_file"] = {"name": name, name: name, "n_cells": 300}
    drift["model"] |= {"name": name, "version": name, "trained_on": name}
    for cells in drift["reference"]["ladder"].values():
        cells[0]["plate"] = name
    drift["dataset"]["classes"][2] |= {"name": name, "short": name}
    drift["dataset"]["splits"][1] |= {"title": name, "meaning": name}
    page = Page(render(summarise(drift | {"command": name}, pictures)))
    harmless = page_of(scored([make_entry("a"), make_entry("b")], wells=("w", "w2")))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements}
    for _, attributes in page.elements:
        assert not any(attribute.startswith("on") for attribute in attributes)
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert "\0" not in page.text
    assert "\u202e" not in page.text
    assert name[:20].replace("\0", "�").replace("\u202e", "�") in page.text


FULL = tuple(f"{chr(65 + row)}{column + 1:02d}" for row in range(16) for column in range(24))


def test_a_full_plate_keeps_cells_of_every_well_within_the_limit(scored, random_cells):
    text = text_of(scored(wells=FULL))
    assert 1_000_000 < len(text.encode()) <= SIZE_LIMIT
    assert {f'data-w="{n}"' for n in range(384)} <= set(re.findall(r'data-w="\d+"', text))
    for number in (0, 200, 383):
        assert f'<figure data-w="{number}"' in text


def test_a_full_plate_of_1536_wells_stays_within_the_limit(scored):
    wells = tuple(f"{row}{column + 1:02d}" for row in ROWS for column in range(48))
    text = text_of(scored(wells=wells))
    assert len(text.encode()) <= SIZE_LIMIT
    assert {f'data-w="{n}"' for n in range(1536)} <= set(re.findall(r'data-w="\d+"', text))


def test_a_huge_file_stays_small(scored, make_entry):
    plates = [make_entry(f"plate {number}", "shifted", 3.0) for number in range(20)]
    noise = np.random.default_rng(0).integers(0, 65535, (2, 2, 64, 64)).astype(np.uint16)
    text = text_of(scored(plates, wells=FULL, images=noise, most_wells=20 * 384))
    assert 1_000_000 < len(text.encode()) <= SIZE_LIMIT
    assert '<g class="w"' in text


def test_wells_without_position_are_drawn_in_rows():
    wells = [
        {"id": n, "name": f"well {n}", "row": 0, "column": 0, "n_cells": 5, "confidence": 0.5,
         "distance": None, "label": 0, "words": f"{n}: 5 cells"}
        for n in range(30)
    ]  # fmt: skip
    plate = {"wells": wells, "placed": False, "rows": 8, "columns": 12, "most_cells": 5}
    drawn = figures.plate_map(plate, "distance")
    assert drawn.count("<title>") == 30
    assert drawn.count('class="unknown"') == 30
    assert 'class="plate"' not in drawn
    assert len(set(re.findall(r' y="(\d+)"', drawn))) == 2


def test_each_well_tells_its_figures_in_each_map(scored):
    drift, pictures = scored()
    drift["wells"][1] |= {
        "n_cells": 75, "confidence": 0.8, "distance": 1.14, "shares": [0.6, 0, 0.37, 0, 0, 0.03, 0],
        "label": 0, "probability": 0.9871, "disagree": 0.4,
    }  # fmt: skip
    text = render(summarise(drift, pictures))
    title = (
        "B02: ER, probability 98.7%; 40% of its cells disagree; 75 cells; ER 60%, Golgi 37%, "
        "Cytosol 3%; confidence 80%; distance 1.1"
    )
    assert text.count(f"<title>{title}</title>") == 4


@pytest.mark.parametrize(
    ("wells", "words"),
    [
        (("A01", "B02", "H12"), "Drawn as a 96-well plate, since all wells fit on one."),
        (("one", "two"), "The well ids give no position"),
        (("A01", "C03", "D13"), "At the edge of the plate"),
    ],
)
def test_the_map_says_what_it_assumes(scored, wells, words):
    assert words in text_of(scored(wells=wells))


ROWS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD", "AE", "AF"]


@pytest.mark.parametrize(
    ("wells", "rows", "last"),
    [(("A01", "H12"), 8, "12"), (("A01", "H13"), 16, "24"), (("A01", "Q01"), 32, "48"),
     (("A25", "AF48"), 32, "48")],
)  # fmt: skip
def test_a_plate_is_drawn_with_as_few_wells_as_hold_all(scored, wells, rows, last):
    (plate,) = summarise(*scored(wells=wells))["maps"]
    drawn = figures.plate_map(plate, "class")
    ticks = re.findall(r'<text class="tick"[^>]*>(\w+)</text>', drawn)
    assert [tick for tick in ticks if tick.isalpha()] == ROWS[:rows]
    assert ticks[ticks.index("A") - 1] == last
    for edge, side in (("x", "width"), ("y", "height")):
        frame = re.search(rf'class="plate"[^>]* {edge}="(\d+)"[^>]* {side}="(\d+)"', drawn)
        places = [int(x) for x in re.findall(rf'<rect class="c\d"[^>]* {edge}="(\d+)"', drawn)]
        assert int(frame[1]) <= min(places)
        assert max(places) + 15 <= int(frame[1]) + int(frame[2])


def test_letters_of_wells_tell_the_classes_apart():
    assert len({name[:2] for name in coos7().short_names}) == coos7().n_classes


def test_each_class_has_its_colour_and_no_other_class_has_any(scored):
    drift, pictures = scored()
    drift["dataset"]["classes"][1]["colour"] = "#123456"
    drift["dataset"]["classes"][2]["colour"] = "#fedcba"
    style = re.search(r"<style>(.*?)</style>", render(summarise(drift, pictures)), re.S)[1]
    colours = re.findall(r"\.c(\d+)\{fill:(#\w+)\}svg \.w \.c\1\+text\{fill:(#\w+)\}", style)
    assert [fill for _, fill, _ in colours] == [
        one["colour"] for one in drift["dataset"]["classes"]
    ]
    assert [int(label) for label, _, _ in colours] == [*range(7)]
    assert colours[1:3] == [("1", "#123456", "#fff"), ("2", "#fedcba", "#111")]


def test_marks_repeat_after_the_sixth_reference():
    marks = [reference_mark(place) for place in range(13)]
    assert len(set(marks)) == 6 == len({SYMBOLS[key] for key in marks})
    assert marks[6:12] == marks[:6] and marks[12] == marks[0]


def test_splits_differ_in_shape_as_well_as_in_colour(scored):
    panel = summarise(*scored())["comparison"][0]
    drawn = figures.plate_comparison(panel, 0.3, 4)
    shapes = {}
    for key, shape in re.findall(r'class="mark (\w+)" transform="[^"]*" d="([^"]*)"', drawn):
        shapes.setdefault(key, set()).add(shape)
    assert all(len(kinds) == 1 for kinds in shapes.values())
    assert len(set.union(*shapes.values())) == len(shapes) == 6


def test_the_axis_holds_every_mark(scored, make_entry):
    comparison = summarise(*scored([make_entry(verdict="shifted", distance=70.0)]))["comparison"]
    low, high = figures.comparison_axis(comparison)
    assert low < 0.5
    assert high > 70


@pytest.mark.parametrize(
    ("high", "ticks"), [(17, [0, 5, 10, 15]), (100, [0, 50, 100]), (5.5, [0, 2, 4])]
)
def test_ticks_are_round(high, ticks):
    assert round_ticks(high, 4) == ticks


def test_a_cell_keeps_its_channels_apart():
    image = np.full((2, 64, 64), 100, dtype=np.uint16)
    image[0, :32] = 1000
    image[1, :, :32] = 500
    picture = np.asarray(Image.open(io.BytesIO(cell_picture(image))).convert("RGB")).astype(int)
    assert picture.shape == (64, 64, 3)
    np.testing.assert_allclose(picture[10, 50], [0, 255, 0], atol=12)  # protein alone is green
    np.testing.assert_allclose(picture[50, 10], [204, 0, 229], atol=12)  # nucleus is magenta
    np.testing.assert_allclose(picture[50, 50], [0, 0, 0], atol=12)


def test_cells_that_differ_in_gain_and_offset_look_the_same(random_cells):
    image = random_cells(1)[0]
    assert cell_picture(image) == cell_picture(image * np.uint16(4) + np.uint16(64))
