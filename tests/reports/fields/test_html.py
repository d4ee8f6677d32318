"""The page says what fields.json says, in one file without requests, whatever the names are."""

from __future__ import annotations

import html
import html.parser
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from coos_mlflow.reports.fields.headline import headline
from coos_mlflow.reports.fields.html import SIZE_LIMIT, render_fields
from coos_mlflow.reports.fields.maps import plate_maps, quantities

VOID = {"meta", "img", "br", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "</style></title></script><script>alert(1)</script>",
    "]]>--><svg/onload=alert(1)>",
    "{{ 7*7 }}\u202eevil\0",
    "z" * 10_000,
)


class Page(html.parser.HTMLParser):
    """Collects elements and text, and checks that elements nest."""

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


SIZES = {
    "one well": {"n_wells": 1, "n_fields": 1},
    "96 wells": {"n_wells": 96, "empty": 12, "failed": 3},
    "two plates": {"plates": ("P7", "P8"), "n_wells": 24},
    "no cells": {"mean": 0},
    "all failed": {"n_wells": 2, "failed": 6},
    "wells without a position": {"names": ("left", "right")},
    "no overlays": {"n_overlays": 0},
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_pages_of_any_size_are_well_formed_and_whole(made, size):
    facts, pictures = made(**size)
    page = Page(render_fields(facts, pictures))
    ids = [attributes.get("id") for tag, attributes in page.elements if tag == "section"]
    assert [name for name in ids if name != "fields"] == [
        "overlays", "next", "maps", "chosen", "left-out", "limits", "wells", "provenance",
    ]  # fmt: skip
    named = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(named) == len(set(named))
    wells = {attributes["data-w"] for tag, attributes in page.elements if tag == "g"}
    assert wells == {str(number) for number in range(len(facts["wells"]))}


def test_nothing_is_asked_of_the_network(made):
    text = render_fields(*made(n_wells=24, failed=2))
    for tag, attributes in Page(text).elements:
        assert tag not in {"link", "iframe", "object", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name == "src":
                assert value.startswith("data:image/webp;base64,")
            if name == "href":
                assert value.startswith("#")
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w])")


def numbers_in(value) -> set[float]:
    """Return every number of a JSON tree, those within its texts and the lengths of its lists."""
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, str):
        return {float(n.replace(",", "")) for n in NUMBER.findall(value)}
    parts = list(value.values()) if isinstance(value, dict) else value
    own = {float(len(value))} if isinstance(value, list) else set()
    return own.union(*(numbers_in(part) for part in parts))


def counts_of_flags(facts) -> set[float]:
    """Return how many wells and fields have each warning, any, and none."""
    found = {0.0, 1.0}
    for noun, kind in (("wells", "well"), ("fields", "field")):
        for rule in facts["rules"][kind]:
            found.add(float(sum(rule["key"] in entry["flags"] for entry in facts[noun])))
    found.add(float(sum(bool(f["flags"]) or f["error"] is not None for f in facts["fields"])))
    warned = Counter(f["well"] for f in facts["fields"] if f["flags"] or f["error"] is not None)
    found |= {float(n) for n in warned.values()}
    full = sum(well["n_cells"] > 0 for well in facts["wells"])
    return found | {float(full), float(len(facts["wells"]) - full)}


def test_every_number_on_the_page_is_in_fields_json(made):
    """As it is there, rounded to three digits, or counted; what the template says apart."""
    facts, pictures = made(n_wells=40, n_fields=4, empty=3, failed=2)
    known = np.array(sorted(numbers_in(facts) | counts_of_flags(facts)))
    body = render_fields(facts, pictures)
    body = body[body.index('<div class="figures">') : body.index('<script type="application')]
    unknown = set()
    for part in re.findall(r">([^<>]+)<", re.sub(r'<text class="tick".*?</text>', "", body)):
        for text in NUMBER.findall(html.unescape(part)):
            value = float(text.replace(",", ""))
            half = 0.5 * 10.0 ** -len(text.partition(".")[2]) + 1e-9
            if np.abs(known - value).min() > half:
                unknown.add(text)
    assert unknown == set()


def test_the_fields_of_each_well_stand_in_the_page_for_its_script(made):
    facts, pictures = made(n_wells=12, n_fields=5, failed=2)
    text = render_fields(facts, pictures)
    data = json.loads(re.search(r'id="field-rows">(.*?)</script>', text, re.S)[1])
    for number, well in enumerate(facts["wells"]):
        own = [f for f in facts["fields"] if f["well"] == well["well"]]
        rows = data["rows"][str(number)]
        assert [row[:2] for row in rows] == [[str(f["field"]), str(f["n_cells"])] for f in own]
        broken = [any(isinstance(value, list) for value in row) for row in rows]
        assert broken == [bool(f["flags"]) for f in own]
        assert all(len(row) == len(data["numbers"]) for row in rows)


def test_the_headline_counts_cells_and_names_the_gravest_warning(made):
    facts, _ = made(n_wells=96, empty=12, failed=3)
    said = headline(facts)
    assert said["key"] == "shifted"
    assert said["title"] == f"{facts['totals']['cells']:,} cells in 84 of 96 wells"
    assert said["trust"] == "12 of 96 wells have no cells."
    assert "3 of 288 fields could not be read." in said["reasons"]
    # The rule on empty wells would say the first warning again.
    assert not [reason for reason in said["reasons"] if "empty" in reason]


def test_a_plate_without_warnings_still_asks_for_eyes(made):
    facts, _ = made()
    for entry in (*facts["fields"], *facts["wells"]):
        entry["flags"] = []
    said = headline(facts)
    assert said["key"] == "in-range"
    assert said["trust"] == "No well and no field breaks a limit."
    assert "eyes" in said["look"]


def test_few_warnings_are_said_without_alarm(made):
    facts, _ = made(n_wells=96)
    for entry in facts["fields"]:
        entry["flags"] = []
    facts["fields"][0]["flags"] = ["out_of_focus"]
    said = headline(facts)
    assert (said["key"], said["trust"]) == ("cannot-tell", "1 of 288 fields: out of focus.")


def test_a_plate_without_cells_is_a_warning(made):
    facts, _ = made(mean=0)
    assert headline(facts)["key"] == "shifted"
    assert headline(facts)["title"] == "0 cells in 0 of 8 wells"


def test_simulated_plates_are_called_so(made):
    assert "Simulated data" in render_fields(*made(simulated=True))
    assert "Simulated data" not in render_fields(*made())


def test_a_failed_field_is_named_with_its_reason(made):
    facts, pictures = made(failed=1)
    facts["fields"][0]["error"] = "r01c01.tif: is missing, though Index.idx.xml names it."
    text = Page(render_fields(facts, pictures)).text
    assert "r01c01.tif: is missing, though Index.idx.xml names it." in text


def test_each_overlay_tells_its_cells_and_why_it_is_shown(made):
    facts, pictures = made(n_wells=96)
    text = Page(render_fields(facts, pictures)).text
    fields = {(f["well"], f["field"]): f for f in facts["fields"]}
    for one in facts["overlays"]:
        field = fields[one["well"], one["field"]]
        assert f"Well {one['well']}, field {one['field']}" in text
        assert f"{field['n_cells']} cells" in text
        if one["why"] == "out_of_focus":
            assert f"focus {field['figures']['focus']:.3g}, warned of below 0.25" in text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_each_kind_are_named_rightly(made, tmp_path, kind):
    facts, pictures = made(n_overlays=1)
    path = tmp_path / "picture"
    Image.new("RGB", (8, 8)).save(path, format=kind)
    text = render_fields(facts, dict.fromkeys(pictures, path.read_bytes()))
    assert f"data:image/{kind.lower()};base64," in text


def test_maps_take_the_shape_of_the_plate_or_the_smallest_that_fits(made):
    facts, _ = made(n_wells=20)
    assert [plate_maps(facts)[0][key] for key in ("rows", "columns")] == [8, 12]
    facts["shape"] = [16, 24]
    assert [plate_maps(facts)[0][key] for key in ("rows", "columns")] == [16, 24]
    facts["shape"] = [1, 1]  # smaller than its wells
    assert [plate_maps(facts)[0][key] for key in ("rows", "columns")] == [8, 12]


def test_the_colours_of_maps_span_values_and_limits(made):
    facts, _ = made(n_wells=96, failed=6)
    for quantity in quantities(facts):
        known = [p for p in quantity["positions"] if p is not None]
        assert min(known) >= 0
        assert max(known) <= 1
        assert len(quantity["positions"]) == 96
    focus = next(quantity for quantity in quantities(facts) if quantity["key"] == "focus")
    assert focus["positions"][:2] == [None, None]
    assert float(focus["low"]) <= 0.25


@pytest.mark.parametrize("name", HOSTILE, ids=range(6))
def test_hostile_text_comes_out_as_text(made, name):
    facts, pictures = made(plates=(name, "P8"), names=(name, "B02"), failed=1)
    facts["location"] = facts["source"] = facts["dataset"] = name
    facts["notes"] = facts["warnings"] = [name]
    facts["segmenter"], facts["versions"] = {name: name}, {name: name}
    facts["fields"][0]["error"] = name
    for channel in facts["channels"]:
        channel["name"] = name
    for rule in facts["rules"]["field"]:
        rule["title"] = rule["meaning"] = name
    facts["settings"]["segmenter"] = name
    text = render_fields(facts, pictures)
    page = Page(text)
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert not [
        key for _, attributes in page.elements for key in attributes if key.startswith("on")
    ]
    assert "\u202e" not in text
    assert "\0" not in text
    assert len(text) < 500_000


def test_many_wells_fields_and_pictures_stay_within_the_limit(made):
    facts, pictures = made(384, 10, plates=("A", "B"), n_overlays=60)
    noise = np.random.default_rng(0).bytes(150_000)
    page = render_fields(facts, dict.fromkeys(pictures, b"RIFF" + noise))
    assert len(page.encode("utf-8")) <= SIZE_LIMIT
    drawn = page.count("<figure ")
    assert 0 < drawn < len(facts["overlays"])
    assert f"{drawn} of {len(facts['overlays'])} pictures fit on this page." in page
