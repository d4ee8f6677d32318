"""The figure has one line for each model, told apart without colour, and names that keep apart."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coos_mlflow.reports.style import COLOURS, DARK, LIGHT
from coos_mlflow.training.table3.figure import colour_of, errors_figure, png, spread


def drawn_lines(ax) -> list:
    """Return the lines over all five splits that are not of other representations."""
    return [ln for ln in ax.lines if len(ln.get_xdata()) == 5 and ln.get_marker() != "None"]


def test_every_model_has_a_line_at_the_root_of_its_errors(make_table):
    table = make_table()
    panels = errors_figure(table).axes
    assert [ax.get_title(loc="left") for ax in panels] == ["DeepLoc", "Texture", "PCI", "VGG16"]
    assert [len(drawn_lines(ax)) for ax in panels] == [4, 3, 9, 9]
    heights = drawn_lines(panels[1])[0].get_ydata()
    assert np.square(heights) == pytest.approx([10.9, 12.3, 11.7, 18.1, 26.1])
    behind = [ln for ln in panels[1].lines if ln.get_color() == LIGHT.line]
    assert len(behind) == 22


def test_models_differ_without_colour_and_layers_in_lightness(make_table):
    pci = drawn_lines(errors_figure(make_table()).axes[2])
    assert len({(ln.get_linestyle(), ln.get_marker()) for ln in pci}) == 3
    shades = sorted({sum(ln.get_color()) for ln in pci})
    assert len(shades) == 3 and min(np.diff(shades)) > 0.3


def test_every_line_is_named_beside_its_end(make_table):
    for ax in errors_figure(make_table()).axes:
        assert len(ax.texts) == len(drawn_lines(ax))
        heights = sorted(text.get_position()[1] for text in ax.texts)
        assert min(np.diff(heights)) > 0.05 * ax.get_ylim()[1]
        assert heights[-1] < ax.get_ylim()[1]
    assert {text.get_text() for text in errors_figure(make_table()).axes[0].texts} == {
        "End-to-End", "FC2 kNN", "FC2 L1 LR", "FC2 RF",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("simulated", "dataset", "words"),
    [(True, "simulated", "on simulated cells"), (False, "COOS-7", "on COOS-7")],
)
def test_the_title_says_which_cells(make_table, simulated, dataset, words):
    figure = errors_figure(make_table(simulated=simulated, name=dataset))
    assert words in figure.get_suptitle()
    assert ("simulated" in figure.get_suptitle()) is simulated


def test_one_representation_fills_the_figure(make_table, lines):
    figure = errors_figure(make_table(lines[4:7]))
    assert len(figure.axes) == 1 and "grey" not in figure.get_suptitle()
    assert len(drawn_lines(figure.axes[0])) == 3


def test_nothing_to_draw_is_drawn(make_table):
    assert png(make_table([])).startswith(b"\x89PNG")


def test_the_picture_is_the_same_every_time_and_on_dark_pages_dark(make_table, lines):
    table = make_table(lines[:7], seeds=(0, 1))
    assert png(table) == png(table)
    corners = [
        Image.open(io.BytesIO(png(table, palette))).convert("L").getpixel((1, 1))
        for palette in (LIGHT, DARK)
    ]
    assert corners[0] > 250 and corners[1] < 60


def test_a_representation_keeps_its_colour_in_every_choice_of_rows():
    assert colour_of("Texture", ["Texture"]) == colour_of("Texture", ["DeepLoc", "Texture"])
    shown = ["DeepLoc", "Texture", "PCI", "VGG16", "Anew"]
    assert [colour_of(title, shown) for title in shown] == list(COLOURS[:5])
    assert len(set(COLOURS)) == len(COLOURS)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12))
def test_spread_places_keep_order_and_distance(places):
    moved = spread(sorted(places), 0.5)
    assert all(b - a >= 0.5 - 1e-9 for a, b in itertools.pairwise(moved))
    assert min(moved) >= 0


def test_places_far_enough_apart_stay_and_close_ones_move_evenly():
    assert spread([1, 2, 4], 1) == pytest.approx([1, 2, 4])
    assert spread([3, 3, 3, 9], 1) == pytest.approx([2, 3, 4, 9])


def test_names_stay_below_the_top():
    assert spread([8, 9, 9.5], 1, top=10) == pytest.approx([7.9, 8.9, 9.9], abs=0.2)
    assert max(spread([9.0] * 5, 1, top=10)) <= 10
