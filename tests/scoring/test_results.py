"""A folder of results: what is refused before anything is computed."""

import subprocess
from pathlib import Path

import pytest

from coos_mlflow._utils import files
from coos_mlflow._utils.files import check_folder, whole_folder
from coos_mlflow.errors import OutputError
from coos_mlflow.registry.results import REPORT, RESULTS


def refused(folder: Path, force: bool = False) -> str:
    with pytest.raises(OutputError) as caught:
        check_folder(folder, force, RESULTS)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{folder}: ")
    return str(caught.value)


def test_results_behind_a_link_are_replaced_without_a_trace(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with whole_folder(tmp_path / "link", force=True, known=("file",)) as partial:
        (partial / "file").touch()
    assert {path.name for path in tmp_path.iterdir()} == {"link", "real"}
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "link" / "file").is_file()


def test_a_folder_that_is_not_there_is_made_with_its_parents(tmp_path):
    out = tmp_path / "a" / "b"
    check_folder(out, force=False, known=RESULTS)
    assert not (tmp_path / "a").exists()
    with whole_folder(out, force=False, known=RESULTS) as new:
        (new / REPORT).write_text("page")
    assert [p.name for p in out.iterdir()] == [REPORT]


def test_a_path_that_the_system_refuses_is_one_sentence(tmp_path):
    assert "File name too long" in refused(tmp_path / ("x" * 300) / "out")


def test_a_folder_below_one_that_cannot_be_read(tmp_path, monkeypatch):
    stat, closed = Path.stat, tmp_path / "closed"

    def refuse(self: Path, **options: bool) -> object:
        if closed in self.parents:
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    assert "Permission denied" in refused(closed / "scores" / "plate")


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(self: Path) -> object:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "Permission denied" in refused(tmp_path)


def test_a_folder_below_one_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda path, mode: Path(path) != tmp_path)
    assert f"nothing can be written in {tmp_path};" in refused(tmp_path / "scores" / "plate")


def test_a_disk_that_can_only_be_read(small_disk):
    disk = small_disk(65536)
    held = disk / "results"
    held.mkdir()
    (held / REPORT).touch()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert "nothing can be written" in refused(disk / "scores" / "plate")
    assert "nothing can be written" in refused(held, force=True)


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is a file" in refused(tmp_path / "file" / "scores")


def test_results_go_only_by_force_and_nothing_else_goes(tmp_path):
    (tmp_path / REPORT).touch()
    assert "--force replaces them" in refused(tmp_path)
    check_folder(tmp_path, force=True, known=RESULTS)
    (tmp_path / "mine.txt").touch()
    assert "'mine.txt', which is no result" in refused(tmp_path, force=True)
