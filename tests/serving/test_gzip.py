"""Bodies packed by gzip: taken as they were before, and unpacked no further than a body may be."""

import gzip
import json
import tracemalloc
import zlib

import pandas as pd
import pytest

from coos_mlflow.scoring.remote import packed
from coos_mlflow.serving.decoding import decode
from coos_mlflow.serving.limits import JSON, MAX_BYTES, NPY, RefusedRequestError


@pytest.fixture
def body(cells) -> bytes:
    return json.dumps({"inputs": cells.tolist()}).encode()


def predictions(answer) -> pd.DataFrame:
    assert answer.status_code == 200, answer.text
    return pd.DataFrame(answer.json()["predictions"])


def sentence(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["message"])


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_a_gzip_body_gets_the_answer_of_the_plain_one(ask, cells, body, coding):
    plain = predictions(ask(body, **{"Content-Encoding": "identity"}))
    for sent, kind in ((body, JSON), (packed(cells), NPY)):
        answer = ask(gzip.compress(sent), kind, **{"Content-Encoding": coding})
        pd.testing.assert_frame_equal(predictions(answer), plain, check_exact=True)


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "identity, gzip"])
def test_other_content_encodings_are_refused_with_415(ask, body, coding):
    answer = ask(gzip.compress(body), **{"Content-Encoding": coding})
    assert f"Content-Encoding: '{coding}' found, expected gzip or none" in sentence(answer, 415)


def without_checksum(stream: bytes) -> bytes:
    return stream[:-8] + bytes(8)


def with_a_flipped_byte(stream: bytes) -> bytes:
    middle = len(stream) // 2
    return stream[:middle] + bytes([stream[middle] ^ 0xFF]) + stream[middle + 1 :]


DAMAGES = {
    "plain JSON": (gzip.decompress, "no gzip, or a damaged one"),
    "a flipped byte": (with_a_flipped_byte, "no gzip, or a damaged one"),
    "another checksum": (without_checksum, "no gzip, or a damaged one"),
    "cut in the middle": (lambda stream: stream[: len(stream) // 2], "cut off"),
    "cut in its checksum": (lambda stream: stream[:-3], "cut off"),
    "nothing": (lambda _: b"", "cut off"),
    "two streams": (lambda stream: stream * 2, "bytes behind the end"),
    "another byte": (lambda stream: stream + b"x", "bytes behind the end"),
    "many zeros": (lambda stream: stream + bytes(100_000), "bytes behind the end"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_gzip_body_is_refused_with_400(ask, body, damage):
    change, named = DAMAGES[damage]
    answer = ask(change(gzip.compress(body)), **{"Content-Encoding": "gzip"})
    said = sentence(answer, 400)
    assert named in said and "expected one whole gzip stream" in said


def test_a_stream_that_ends_where_a_piece_ends_is_whole(body):
    """It is unpacked by 4,096 bytes; a comment in its header makes its length a multiple."""
    stream = gzip.compress(body)
    comment = b"c" * (-len(stream) % 4096 + 4095) + b"\0"
    stream = stream[:3] + b"\x10" + stream[4:10] + comment + stream[10:]
    assert len(stream) % 4096 == 0
    assert len(decode(stream, JSON, 64, True)) == 12
    with pytest.raises(RefusedRequestError, match="bytes behind the end"):
        decode(stream + b"x", JSON, 64, True)
    with pytest.raises(RefusedRequestError, match="cut off"):
        decode(stream[:-4096], JSON, 64, True)


def test_a_gzip_bomb_is_refused_with_413(ask):
    bomb = gzip.compress(bytes(MAX_BYTES[JSON] + 1))
    said = sentence(ask(bomb, **{"Content-Encoding": "gzip"}), 413)
    assert "more than 16 MiB of application/json found" in said


@pytest.mark.parametrize("kind", [JSON, NPY])
def test_a_gzip_bomb_takes_no_more_memory_than_a_body_may(kind):
    """15 MiB that would unpack to 15 GiB: the same MiB of zeros again and again."""
    maker = zlib.compressobj(wbits=31)
    begun = maker.compress(bytes(2**20)) + maker.flush(zlib.Z_FULL_FLUSH)
    again = maker.compress(bytes(2**20)) + maker.flush(zlib.Z_FULL_FLUSH)
    assert len(zlib.decompressobj(31).decompress(begun + again * 99)) == 100 * 2**20
    bomb = begun + again * (15 * 2**20 // len(again))
    tracemalloc.start()
    with pytest.raises(RefusedRequestError, match="MiB of") as refused:
        decode(bomb, kind, 64, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < MAX_BYTES[kind] * 9 / 8 + 8 * 2**20


def test_a_gzip_body_of_just_the_limit_is_read_to_its_end(body):
    full = body + b" " * (MAX_BYTES[JSON] - len(body))
    assert len(decode(gzip.compress(full, 1), JSON, 64, True)) == 12
