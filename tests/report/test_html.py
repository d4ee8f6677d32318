"""The page is one small file without requests, and hostile names come out as text."""

from __future__ import annotations

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.report import figures
from coos_mlflow.report.html import SIZE_LIMIT, render
from coos_mlflow.report.summary import summarise

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
        self.text += data


def page_of(arguments) -> Page:
    return Page(render(summarise(**arguments)))


def test_the_answer_comes_first(scored):
    text = page_of(scored(plate_simulated=True)).text.split("}")[-1]
    order = ["Simulated data", "In range", "The labels can be used", "How far from the plates"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_every_section_is_there(scored, make_entry):
    page = page_of(scored([make_entry("a"), make_entry("b", "shifted", 3.0)]))
    ids = [attributes.get("id") for tag, attributes in page.elements if tag == "section"]
    assert ids == [
        "ladder", "plates", "shares", "maps", "cells", "moves", "errors", "provenance",
    ]  # fmt: skip


def test_nothing_is_asked_of_the_network(scored):
    for tag, attributes in page_of(scored()).elements:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href", "action", "data", "srcset"}:
                assert value.startswith("data:image/png;base64,")
            assert name != "style" or "url(" not in value
    style = re.search(r"<style>(.*?)</style>", render(summarise(**scored())), re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]>--><svg/onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "\u202eevil\0",
    "z" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_come_out_as_text(scored, make_entry, name):
    arguments = scored([make_entry(name), make_entry("b")], wells=[name, f"{name}2"])
    arguments |= {"plate_name": name, "provenance": {name: name}}
    arguments["model"] |= {"name": name, "alias": name, "trained_on": name}
    page = page_of(arguments)
    harmless = page_of(scored([make_entry("a"), make_entry("b")], wells=["w", "w2"]))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in harmless.elements}
    assert not any(
        "onerror" in attributes or "onload" in attributes for _, attributes in page.elements
    )
    assert "\0" not in page.text
    assert "\u202e" not in page.text
    assert name[:20].replace("\0", "�").replace("\u202e", "�") in page.text


def test_a_huge_file_stays_small(scored, make_entry, random_cells):
    wells = [f"{chr(65 + row)}{column + 1:02d}" for row in range(16) for column in range(24)]
    plates = [make_entry(f"plate {number}", "shifted", 3.0) for number in range(60)]
    arguments = scored(plates, wells=wells)
    noise = np.random.default_rng(0).integers(0, 65535, (2, 64, 64)).astype(np.uint16)
    arguments["cells"] = [
        cell | {"label": label, "image": noise} for cell in arguments["cells"] for label in range(7)
    ]
    arguments["assessment"]["class_shares"]["predicted"] = [1 / 7] * 7
    text = render(summarise(**arguments))
    assert 1_000_000 < len(text.encode()) <= SIZE_LIMIT


def test_wells_without_position_are_drawn_in_rows(scored):
    wells = [
        {"well": str(n), "row": 0, "column": 0, "n_cells": 5, "confidence": 0.5, "distance": None,
         "label": 0, "share": 1.0}
        for n in range(30)
    ]  # fmt: skip
    drawn = figures.plate_map(wells, "distance")
    assert drawn.count("<title>") == 30
    assert drawn.count('class="unknown"') == 30
    assert 'class="plate"' not in drawn
    assert len(set(re.findall(r' y="(\d+)"', drawn))) == 2


def test_each_well_tells_its_figures(scored):
    text = render(summarise(**scored()))
    title = "B02: 75 cells, ER 60%, confidence 80%, distance 1.1"
    assert text.count(f"<title>{title}</title>") == len(figures.MAP_QUANTITIES)


def test_splits_differ_in_shape_as_well_as_in_colour(scored):
    panel = summarise(**scored())["ladder"][0]
    drawn = figures.ladder(panel, 0.3, 4)
    shapes = {}
    for key, shape in re.findall(r'class="mark (\w+)" transform="[^"]*" d="([^"]*)"', drawn):
        shapes.setdefault(key, set()).add(shape)
    assert all(len(kinds) == 1 for kinds in shapes.values())
    assert len(set.union(*shapes.values())) == len(shapes) == 6


def test_the_axis_holds_every_mark(scored, make_entry):
    ladder = summarise(**scored([make_entry(verdict="shifted", distance=70.0)]))["ladder"]
    low, high = figures.axis_of(ladder)
    assert low < 0.5
    assert high > 70


def test_a_cell_keeps_its_channels_apart():
    image = np.zeros((2, 64, 64), dtype=np.uint16)
    image[0, :32] = 1000
    image[1, :, :32] = 500
    uri = figures.cell_picture(image)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert picture.shape == (64, 64, 3)
    assert (picture[10, 50] == [0, 252, 0]).all()  # protein alone is green
    assert picture[50, 10, 1] == 0
    assert min(picture[50, 10, 0], picture[50, 10, 2]) > 180  # nucleus alone is magenta
    assert (picture[50, 50] == 0).all()
