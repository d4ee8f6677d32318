"""Hostile plates: a few hundred through the commands and those that once broke them."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.plates.hdf5.chunks import MAX_ROW_BYTES
from coos_mlflow.plates.reader import open_plate
from coos_mlflow.plates.summary import inspect

FILES = int(os.environ.get("COOS_PLATES", "100"))
"""How many to try; `scripts/fuzz/plates.py` tries more of them, and faster."""


def refusal(path: Path) -> str:
    """The sentence that a plate is refused with."""
    with pytest.raises(DataError) as caught:
        inspect(path)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 800
    return said


@pytest.fixture(scope="module")
def commands(trained, fuzz):
    return fuzz.plates.in_child(fuzz.commands.loaded())


def test_no_mutated_plate_breaks_a_command(fuzz, make_harness, commands, tmp_path):
    harness = make_harness(commands)
    plates = fuzz.seeds.make_seeds(tmp_path)
    outcomes, found, tried = Counter(), {}, set()
    for number in range(FILES):
        mutant = fuzz.mutants.mutant(number, 0, plates, harness.trap)
        verdict = harness.judge(mutant.make, score=number % 5 == 0)
        outcomes[verdict.outcome] += 1
        tried.add(mutant.mutation)
        if verdict.findings:
            found[number, mutant.mutation] = verdict.findings
    assert found == {}
    assert tried == set(fuzz.mutants.names())
    assert min(outcomes["accepted"], outcomes["refused"]) > FILES // 10


def test_each_layout_is_sound_before_it_is_mutated(fuzz, tmp_path):
    for seed in fuzz.seeds.make_seeds(tmp_path):
        assert inspect(tmp_path / f"{seed.name}.h5").n_cells == fuzz.seeds.N_CELLS


def test_a_mutant_is_the_same_whatever_came_before_it(fuzz, make_harness, tmp_path):
    trap = make_harness(None).trap
    plates = fuzz.seeds.make_seeds(tmp_path / "seeds")
    for number in (3, 60, 7, 3):
        fuzz.mutants.mutant(number, 5, plates, trap).make(tmp_path / "again.h5")
        said = (tmp_path / "again.h5").read_bytes()
        if number == 3:
            before = said
    assert said == before


def test_checksums_of_resealed_headers_are_those_of_hdf5(fuzz, tmp_path):
    """Jenkins published this hash; and every header that HDF5 wrote must agree."""
    assert fuzz.flips.lookup3(b"Four score and seven years ago") == 0x17770551
    headers = 0
    for seed in fuzz.seeds.make_seeds(tmp_path):
        for start in fuzz.flips._found(seed, "object header"):
            if seed.content[start : start + 4] == b"OHDR":
                end = fuzz.flips._end_of_header(seed.content, start)
                said = int.from_bytes(seed.content[end : end + 4], "little")
                assert fuzz.flips.lookup3(seed.content[start:end]) == said
                headers += 1
    assert headers > 10


# What mutated plates have found


def chunked(path: Path, cells: np.ndarray, packed: bytes, mask: int = 0, **options: object) -> Path:
    """A plate of one chunk, stored as these bytes."""
    options = {"compression": "gzip"} | options
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", cells.shape, cells.dtype, chunks=cells.shape, **options)
        data.id.write_direct_chunk((0, 0, 0, 0), packed, filter_mask=mask)
    return path


@pytest.mark.parametrize(
    ("pack", "mask"),
    [
        (lambda raw: raw[:-1], 1),
        (lambda raw: raw + b"x", 1),
        (lambda raw: zlib.compress(raw[:-1]), 0),
        (lambda raw: zlib.compress(raw[:9]), 0),
        (lambda raw: zlib.compress(raw + b"x"), 0),
        (lambda raw: zlib.compress(raw + bytes(2**27)), 0),
        (lambda raw: zlib.compress(raw)[:-5], 0),
        (lambda raw: b"no zlib", 0),
    ],
)
def test_a_chunk_of_another_length_is_not_read(tmp_path, random_cells, pack, mask):
    """HDF5 would make pixels of what lies behind it in memory, or end the process."""
    cells = random_cells(4)
    path = chunked(tmp_path / "p.h5", cells, pack(cells.tobytes()), mask)
    assert "/data, cells 0 to 3, cannot be read, the file is damaged: a chunk" in refusal(path)
    sound = chunked(tmp_path / "p.h5", cells, zlib.compress(cells.tobytes()))
    assert inspect(sound).n_cells == 4


def test_chunks_of_columns_are_verified_too(tmp_path, random_cells):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(4)
        labels = file.create_dataset("labels", (4,), "u1", chunks=(4,), compression="gzip")
        labels.id.write_direct_chunk((0,), zlib.compress(b"\0\1"))
    assert "/labels, cells 0 to 3, cannot be read" in refusal(tmp_path / "p.h5")


def test_lzf_of_another_length_is_not_read(tmp_path, random_cells):
    cells = random_cells(4)
    literal = b"".join(b"\x1f" + cells.tobytes()[i : i + 32] for i in range(0, cells.nbytes, 32))
    lzf = {"compression": "lzf"}
    assert inspect(chunked(tmp_path / "p.h5", cells, literal, **lzf)).n_cells == 4
    # A run of 264 bytes that repeats what lies one byte before.
    for damaged in (literal[:-33], literal + b"\0x", literal[:-1], literal + b"\xe0\xff\x00"):
        path = chunked(tmp_path / "p.h5", cells, damaged, **lzf)
        assert "does not unpack to" in refusal(path)


@pytest.mark.parametrize("kept", [60, 21, 3, -1])
def test_scaled_values_that_are_cut_short_are_not_read(tmp_path, random_cells, kept):
    cells = random_cells(2)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        data = file.create_dataset("data", data=cells, chunks=(1, 2, 64, 64), scaleoffset=0)
        _, packed = data.id.read_direct_chunk((1, 0, 0, 0))
    assert inspect(tmp_path / "p.h5").n_cells == 2
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file["data"].id.write_direct_chunk((1, 0, 0, 0), packed[:kept])
    assert "/data, cells 1 to 1, cannot be read" in refusal(tmp_path / "p.h5")


def test_lzf_that_repeats_what_came_before(tmp_path):
    cells = np.zeros((4, 2, 64, 64), np.uint16)
    cells[:, 0, ::2] = 300
    cells[:, 1, 1::2] = 200
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.create_dataset("data", data=cells, chunks=cells.shape, compression="lzf")
    assert inspect(tmp_path / "p.h5").n_cells == 4


def test_one_chunk_is_not_read_many_times(fuzz, tmp_path, random_cells):
    """A file of kilobytes would be hours of work."""
    cells = random_cells(8)
    with h5py.File(tmp_path / "p.h5", "w") as file:
        fuzz.bombs.one_chunk_for_all(file, cells, np.random.default_rng(0), None)
    fuzz.bombs.share_one_chunk(tmp_path / "p.h5")
    assert "some of them lie upon each other" in refusal(tmp_path / "p.h5")


def test_cells_that_pack_too_well_are_refused(fuzz, tmp_path, random_cells):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        fuzz.bombs.bomb_of_cells(file, random_cells(8), np.random.default_rng(0), None)
    assert "expected at most 200 times as many" in refusal(tmp_path / "p.h5")


@pytest.mark.timeout(120)
def test_tiny_chunks_are_looked_through_once(tmp_path, random_cells):
    """HDF5 walks through all of them to find one."""
    with h5py.File(tmp_path / "p.h5", "w", libver="latest") as file:
        options = {"chunks": (1, 1, 1, 2), "maxshape": (None, 2, 64, 64)}
        file.create_dataset("data", data=random_cells(8), **options)
    assert inspect(tmp_path / "p.h5").n_cells == 8


def test_a_column_may_pack_as_well_as_it_can(tmp_path, random_cells):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(100)
        ids = np.array([b"x" * 250] * 100)
        file.create_dataset("plateIDs", data=ids, compression="gzip", chunks=(100,))
    assert inspect(tmp_path / "p.h5").plates == {"x" * 250: 100}


def test_bombs_in_bombs_are_refused(tmp_path, fuzz, random_cells):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        fuzz.bombs.bomb_in_bombs(file, random_cells(8), np.random.default_rng(0), None)
    assert "packed by more than one filter: gzip" in refusal(tmp_path / "p.h5")


@pytest.mark.parametrize("sides", [(2, 64, 64), (1, 8, 64)])
def test_chunks_side_by_side_that_memory_should_not_hold(tmp_path, sides):
    side = MAX_ROW_BYTES // 2**14
    for n, refused in ((side, False), (side + 1, True)):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file.create_dataset("data", (n, 2, 64, 64), "<u2", chunks=(n, *sides))
        assert ("data:CHUNK=64x2x64x64` makes smaller" in refusal(tmp_path / "p.h5")) is refused


def with_text(path, cells, text, **layout):
    """Write a plate whose plate ids are one text of variable length, and return its bytes."""
    with h5py.File(path, "w") as file:
        file["data"] = cells
        file.create_dataset(
            "plateIDs", data=[text] * len(cells), dtype=h5py.string_dtype(), **layout
        )
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("layout", [{}, {"chunks": (4,)}])
def test_no_memory_is_taken_for_text_that_is_only_claimed(tmp_path, random_cells, layout):
    """HDF5 2.0.0 takes four gigabytes before it sees that the heap holds eight bytes."""
    path = tmp_path / "p.h5"
    content = with_text(path, random_cells(8), "12345678", **layout)
    with h5py.File(path) as file:
        stored = file["plateIDs"].id
        at = stored.get_chunk_info(1).byte_offset if layout else stored.get_offset()
    assert content[at : at + 4] == (8).to_bytes(4, "little")
    content[at : at + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert "/plateIDs: text of 4,294,967,295 bytes found" in refusal(path)


def test_text_whose_length_cannot_be_seen_is_refused(tmp_path, random_cells):
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["data"] = random_cells(8)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)
        kind = h5py.h5t.py_create(h5py.string_dtype(), logical=True)
        space = h5py.h5s.create_simple((8,))
        h5py.Dataset(h5py.h5d.create(file.id, b"plateIDs", kind, space, layout))[...] = "59"
    assert "h5repack -l plateIDs:CONTI" in refusal(path)


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_a_filter_with_fewer_parameters_than_it_has(tmp_path, random_cells, kept):
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=random_cells(4), chunks=(2, 2, 64, 64), scaleoffset=0)
    content = bytearray(path.read_bytes())
    # Of the filter's message: its number, the length of its name, flags, the number of parameters.
    at = content.index(b"\x06\0\x10\0\x01\0\x14\0")
    content[at + 6] = kept
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("name", ["\x1b[2J", "two\nlines", "x" * 9999, "\u202e"])
def test_names_inside_the_file_cannot_write_the_sentence(tmp_path, name):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file[name] = 5
    assert "no dataset /data with the cells found, only" in refusal(tmp_path / "p.h5")
    for link in (h5py.SoftLink(f"/{name}/x"), h5py.ExternalLink(name, "/x")):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file["data"] = link
        assert "link to" in refusal(tmp_path / "p.h5")


def test_labels_that_are_arrays_are_refused(tmp_path, random_cells):
    """Their type is neither a number's, nor is it when NumPy makes an array of it."""
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["data"] = random_cells(4)
        file.create_dataset("labels", (4,), np.dtype(("u1", (3,))))[...] = np.ones((4, 3))
    assert "/labels: dtype ('u1', (3,)) found" in refusal(tmp_path / "p.h5")


def test_a_type_of_a_thousand_fields_is_no_endless_sentence(tmp_path, random_cells):
    dtype = np.dtype([(f"field {i}", "u1") for i in range(1000)])
    for name in ("data", "labels", "plateIDs"):
        with h5py.File(tmp_path / "p.h5", "w") as file:
            file["data" if name != "data" else "other"] = random_cells(4)
            file[name] = np.zeros(4, dtype)
        assert f"/{name}: dtype" in refusal(tmp_path / "p.h5")


def test_an_accepted_plate_was_read_as_it_is(fuzz, make_harness, commands, tmp_path):
    (seed, *_) = fuzz.seeds.make_seeds(tmp_path)
    verdict = make_harness(commands).judge(lambda path: path.write_bytes(seed.content))
    assert (verdict.outcome, verdict.findings) == ("accepted", [])
    with open_plate(tmp_path / f"{seed.name}.h5") as plate:
        assert f"cells        {plate.n_cells} " in verdict.ended["check"].stdout.decode()
