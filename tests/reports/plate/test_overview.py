"""Several plates on one page: the worst first, each with its answer and a link to its report."""

from __future__ import annotations

import re

import pytest

from coos_mlflow.reports.overview import rank, render_overview


@pytest.fixture
def several(scored, make_entry):
    entries = {
        "fine": make_entry(error=4.0),
        "fine but worse": make_entry(error=9.0),
        "unknown": make_entry(verdict="cannot tell", error=None),
        "shifted little": make_entry(verdict="shifted", distance=3.0, error=8.0),
        "shifted more": make_entry(verdict="shifted", distance=2.5, error=21.0),
        "shifted, unknown": make_entry(verdict="shifted", distance=2.5, error=None),
        "far": make_entry(verdict="shifted", distance=40.0, error=2.0),
    }
    scored_files = []
    for name, entry in entries.items():
        drift, _ = scored([entry])
        drift["plate_file"]["name"] = f"{name}.h5"
        scored_files.append((name, drift))
    return scored_files


def test_the_worst_come_first(several):
    names = [row["name"].removesuffix(".h5") for row in rank(several)["rows"]]
    assert names == [
        "far", "shifted, unknown", "shifted more", "shifted little", "unknown", "fine but worse",
        "fine",
    ]  # fmt: skip
    assert [row["rank"] for row in rank(several)["rows"]] == list(range(1, 8))
    assert rank(several[::-1])["rows"] == rank(several)["rows"]


def test_each_row_links_to_its_report_beside_the_page(several):
    page = render_overview(several)
    assert re.findall(r'href="([^"]*)"', page)[0] == "./far/report.html"
    assert './shifted%2C%20unknown/report.html"' in page
    assert "21\xa0% (15 to 34\xa0%)" in page
    assert page.count('class="range"') == 5


def test_intervals_share_one_axis_that_holds_them_all(several):
    axis = rank(several)["axis"]
    assert axis >= max(drift["error"]["high"] or 0 for _, drift in several)
    ends = [float(x) for x in re.findall(r"H([\d.]+)M", render_overview(several))]
    assert max(ends) <= 150


def test_simulated_files_are_marked(several):
    assert "Simulated" not in render_overview(several)
    several[0][1]["simulated"]["plate"] = True
    assert "1 of these 7 rest on simulated cells" in render_overview(several)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'javascript:"x', "\u202eevil\0"])
def test_hostile_names_come_out_as_text(several, name):
    _, drift = several[0]
    drift["plate_file"]["name"] = drift["model"]["name"] = name
    page = render_overview([(name, drift)])
    assert "<script" not in page
    assert "\0" not in page
    assert "\u202e" not in page
    (link,) = re.findall(r'href="([^"]*)"', page)
    assert re.fullmatch(r"\./[\w.%()-]+/report\.html", link)


def test_nothing_is_asked_of_the_network(several):
    page = render_overview(several)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert not re.search(r"<(script|link|img|iframe)|url\(|@import", page)
