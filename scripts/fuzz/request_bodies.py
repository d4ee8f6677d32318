"""Bodies of any bytes: a target of `fuzz.guided`.

What the decoder of requests may raise is DataError, of which a refused request is one; all else,
and cells that no model may score, is a finding.
"""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coos_mlflow.data.cells import CELL_SHAPE
from coos_mlflow.data.flags import check_images
from coos_mlflow.errors import DataError
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.limits import JSON, MAX_CELLS, PARQUET
from fuzz.seeds import cells

LONGEST_SENTENCE = 1000
CELL, ROW, TABLE = b"@C", b"@R", b"@T"
"""Stand for a sound cell, a row of pixels and a Parquet file, which dice rarely make."""


def _table() -> bytes:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(cells(1).ravel()), int(np.prod(CELL_SHAPE)))
    sink = io.BytesIO()
    pq.write_table(pa.table({"cell": flat.cast(pa.list_(pa.uint16()))}), sink, compression="zstd")
    return sink.getvalue()


_MEANT = {
    CELL: json.dumps(cells(1)[0].tolist()).encode(),
    ROW: json.dumps(cells(1)[0, 0, 0].tolist()).encode(),
    TABLE: _table(),
}
_KINDS = (JSON, PARQUET, f"{JSON}; charset=utf-8")

EXAMPLES = (
    b'\0{"inputs": [@C]}',
    b'\0{"instances": [@C, @C]}',
    b'\0{"inputs": [[[@R]]], "params": {}}',
    b'\2{"dataframe_split": {"columns": ["cell"], "data": [[@R]]}}',
    b'\0{"inputs": [1e999, NaN, -1, null, "\\u0000"]}',
    b"\1@T",
    b"\1PAR1\0\0\0\0PAR1",
    b"\5\2text/csv\n1,2",
)


def try_bytes(data: bytes) -> bool:
    """Take a first byte for the content type, and the rest for the body of a request.

    Returns
    -------
    bool
        Whether cells came out.
    """
    choice, body = data[:1], data[1:]
    for name, content in _MEANT.items():
        body = body.replace(name, content, 8)
    try:
        number = choice[0] if choice else 0
        if number < len(_KINDS):
            kind = media_type(_KINDS[number])
        else:
            said, _, body = body.partition(b"\n")
            kind = media_type(said.decode("latin-1"), "gzip" if number % 2 else None)
        images = decode(body, kind)
    except DataError as error:
        sentence = str(error)
        assert sentence.isprintable(), sentence
        assert 0 < len(sentence) <= LONGEST_SENTENCE and sentence.endswith("."), sentence
        return False
    assert images.dtype in (np.uint16, np.float32)
    assert images.shape[1:] == CELL_SHAPE and 0 < len(images) <= MAX_CELLS
    check_images(images, "the fuzzer")
    return True
