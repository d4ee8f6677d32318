"""Bodies of any bytes: a target of `fuzz.guided`.

What the decoder of requests may raise is DataError, of which a refused request is one; all else,
and cells that no model may score, is a finding.
"""

from __future__ import annotations

import gzip
import json

import numpy as np

from coos_mlflow.errors import DataError
from coos_mlflow.plates.flags import check_images
from coos_mlflow.serving.decoding import decode, media_type
from coos_mlflow.serving.gzip_bodies import is_gzip
from coos_mlflow.serving.limits import JSON, MAX_CELLS, NPY
from fuzz.npy_lies import SHAPE, npy
from fuzz.seeds import CELL_SHAPE, cells

LONGEST_SENTENCE = 1000
CELL, ROW, ARRAY, PIXELS, GZIPPED = b"@C", b"@R", b"@A", b"@P", b"@G"
"""Stand for a sound cell, a row of pixels, a .npy file, its data, and a body of one cell in JSON
packed by gzip, which dice rarely make."""

_MEANT = {
    CELL: json.dumps(cells(1)[0].tolist()).encode(),
    ROW: json.dumps(cells(1)[0, 0, 0].tolist()).encode(),
    ARRAY: npy(),
    PIXELS: cells(1).tobytes(),
    GZIPPED: gzip.compress(json.dumps({"inputs": cells(1).tolist()}).encode(), mtime=0),
}
_KINDS = (JSON, NPY, f"{JSON}; charset=utf-8")
"""By the first byte; any other stands for a line with both headers, as ``text/csv|gzip``."""

EXAMPLES = (
    b'\0{"inputs": [@C]}',
    b'\0{"instances": [@C, @C]}',
    b'\0{"inputs": [[[@R]]], "params": {}}',
    b'\2{"dataframe_split": {"columns": ["cell"], "data": [[@R]]}}',
    b'\0{"inputs": [1e999, NaN, -1, null, "\\u0000"]}',
    b"\1@A",
    b"\1@A@P",
    b"\5application/x-npy|\n@A",
    *(b"\1" + npy(shape=shape, data=b"@P") for shape in (SHAPE, "(2, 2, 64, 64)")),
    *(b"\1" + npy(order="True", descr=descr, data=b"@P") for descr in ("'>u2'", "'|O'")),
    b"\5\2text/csv\n1,2",
    b'\0\xef\xbb\xbf{"inputs": {"cell": [@C]}}',
    b'\0{"instances": [{"cell": @C}, {"cell": @C}]}',
    b'\0{"instances": [{"cell": @C}, {"well": @C}]}',
    b"\5application/json|gzip\n@G",
    b"\5application/json|gzip\n@G@G",
    b"\5application/json|br\n@G",
)


def try_bytes(data: bytes) -> bool:
    """Take a first byte for the headers, and the rest for the body of a request.

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
            kind, gzipped = media_type(_KINDS[number]), False
        else:
            said, _, body = body.partition(b"\n")
            content_type, _, coding = said.decode("latin-1").partition("|")
            kind, gzipped = media_type(content_type), is_gzip(coding)
        images = decode(body, kind, CELL_SHAPE[1], gzipped)
    except DataError as error:
        sentence = str(error)
        assert sentence.isprintable(), sentence
        assert 0 < len(sentence) <= LONGEST_SENTENCE and sentence.endswith("."), sentence
        return False
    assert images.dtype in (np.uint16, np.float32)
    assert images.shape[1:] == CELL_SHAPE and 0 < len(images) <= MAX_CELLS
    check_images(images, "the fuzzer")
    return True
