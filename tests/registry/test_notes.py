"""Markdown as MLflow's pages show it: on one line, short enough for every store, with its title."""

import re

from hypothesis import given
from hypothesis import strategies as st

from coos_mlflow.registry.notes import LIMIT, for_page, top_of, version_link

PAGE = """# plate.h5: shifted

The plate differs from
the others.

- an item of
  two lines
- another

![A figure](errors.png)

| split | error |
| ----- | ----: |
| near  |   3.1 |

## Details

Not in a note."""


def test_paragraphs_and_items_are_lines_and_the_title_is_bold():
    blocks = for_page(PAGE, "README.md").split("\n\n")
    assert blocks[:3] == [
        "**plate.h5: shifted**",
        "The plate differs from the others.",
        "- an item of two lines\n- another",
    ]
    assert blocks[4:] == ["## Details", "Not in a note."]


def test_a_table_keeps_its_cells_and_its_marks():
    heading, marks, row = for_page(PAGE, "README.md").split("\n\n")[3].split("\n")
    assert marks == "| ----- | ----: |"
    cells = [re.sub("&nbsp;", "", cell).strip() for cell in f"{heading}{row}".split("|")]
    assert [cell for cell in cells if cell] == ["split", "error", "near", "3.1"]
    assert heading.count("|") == row.count("|") == marks.count("|")


def test_a_note_is_the_top_of_a_page_without_pictures():
    note = top_of(PAGE, "report.html")
    assert note.startswith("**plate.h5: shifted**")
    assert note.endswith("More is in the artifact report.html.")
    assert "Not in a note" not in note and "errors.png" not in note


@given(st.lists(st.text("ab |-#\n", min_size=1, max_size=900), max_size=20))
def test_no_text_is_too_long_for_the_stores(blocks):
    assert len(for_page("\n\n".join(blocks), "README.md")) <= LIMIT


def test_a_text_that_is_cut_names_the_artifact_with_the_rest():
    text = for_page("\n\n".join(["word " * 100] * 30), "README.md")
    assert text.endswith("\n\nThe rest is in the artifact README.md.")
    assert len(text) > LIMIT - 600


def test_a_link_holds_no_sign_that_ends_it():
    link = version_link("a b/(c)", "3")
    assert link == "[a b/(c) version 3](#/models/a%20b%2F%28c%29/versions/3)"
