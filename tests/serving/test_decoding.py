"""Bodies turned into cells: whatever writes Parquet, and what no header may hide."""

import importlib
import io
import itertools
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coos_mlflow.errors import DataError
from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.limits import JSON, PARQUET, RefusedRequestError

FORMS = list(
    itertools.product(
        ("u1", "u2", "i4", "i8", "f2", "f4", "f8"),
        ("1.0", "2.6"),
        ("1.0", "2.0"),
        (True, False),
        ("none", "snappy", "zstd", "gzip", "brotli", "lz4"),
    )
)


@pytest.fixture
def bombs(serving):
    yield importlib.import_module("fuzz.parquet_bombs")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzz"]:
        del sys.modules[name]


def written(images: np.ndarray, **how) -> bytes:
    offsets = np.arange(len(images) + 1) * 8192
    column = pa.ListArray.from_arrays(offsets, images.reshape(-1))
    sink = io.BytesIO()
    pq.write_table(pa.table({"cell": column}), sink, **how)
    return sink.getvalue()


def test_whatever_writes_parquet_is_read(cells):
    images = cells[:4] % 120 + np.arange(64, dtype=np.uint16) % 7
    for dtype, version, pages, dictionary, compression in FORMS:
        body = written(
            images.astype(dtype),
            version=version,
            data_page_version=pages,
            use_dictionary=dictionary,
            compression=compression,
            row_group_size=3,
            data_page_size=20_000,
            write_page_checksum=dictionary,
        )
        np.testing.assert_array_equal(decode(body, PARQUET), images)
    for encoding in ("BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"):
        body = written(images.astype("i4"), use_dictionary=False, column_encoding=encoding)
        np.testing.assert_array_equal(decode(body, PARQUET), images)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_what_the_client_packs_comes_out_as_it_went_in(cells, dtype):
    images = decode(packed(cells.astype(dtype)), PARQUET)
    assert images.dtype == dtype
    np.testing.assert_array_equal(images, cells)


def test_an_honest_file_of_the_bombs_maker_is_read(bombs):
    """Else it would be refused for being malformed, whatever it claims."""
    table = pq.read_table(pa.BufferReader(bombs.run(8192)))
    assert table.column(0).to_pylist() == [[7] * 8192]
    with pytest.raises(DataError, match="7 stands in every pixel"):
        decode(bombs.run(8192), PARQUET)


def test_a_page_that_lies_is_not_unpacked_and_would_be_by_who_believes_it(bombs, taken):
    """200 bytes of 10**9 values would take 16 GB."""
    bodies = [bombs.run(30_000_000, header) for header in ("honest", "twice", "type")]
    before = taken()
    for body in bodies:
        assert len(body) < 300
        told = pq.ParquetFile(pa.BufferReader(body)).metadata.row_group(0).column(0).num_values
        assert told == 8192
        with pytest.raises(RefusedRequestError, match="no Parquet file that can be read"):
            decode(body, PARQUET)
    assert taken() - before < 2**20
    for body in bodies:
        assert len(pq.read_table(pa.BufferReader(body)).column(0)[0]) == 30_000_000
    assert taken() - before > 30_000_000


def test_every_bomb_is_refused_at_once(bombs):
    for name, made in bombs.BOMBS.items():
        body = made()
        began = time.process_time()
        with pytest.raises(DataError):
            decode(body, PARQUET)
        assert time.process_time() - began < 2, name


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (JSON, JSON),
        ("APPLICATION/JSON ; charset=UTF-8", JSON),
        (f'{JSON}; charset="utf-8"', JSON),
        (PARQUET, PARQUET),
    ],
)
def test_a_format_may_be_spelled_in_any_way_that_http_allows(said, kind):
    assert media_type(said) == kind
