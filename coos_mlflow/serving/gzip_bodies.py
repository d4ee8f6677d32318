"""Unpack request bodies compressed with gzip (RFC 1952), up to the size limit of a body."""

from __future__ import annotations

import io
import zlib

from coos_mlflow.serving.limits import MAX_BYTES, WHERE, RefusedRequestError, too_large

PLAIN = "identity"
CODINGS = (PLAIN, "gzip", "x-gzip")
"""Values of Content-Encoding; x-gzip is an older name of gzip (RFC 9110, 8.4.1.3)."""

_GZIP_WINDOW = 31
"""The `wbits` of zlib for gzip: expect its header, and check checksum and length at the end."""

_PIECE = 4096
"""Bytes unpacked at once. They can become at most 1,032 times as many."""


def is_gzip(content_encoding: str | None) -> bool:
    """Return whether the header Content-Encoding says gzip.

    Raises
    ------
    RefusedRequestError
        415 for any other coding.
    """
    coding = (content_encoding or PLAIN).lower()
    if coding not in CODINGS:
        raise RefusedRequestError(
            f"Content-Encoding: {coding[:60]!r} found, expected gzip or none.", 415
        )
    return coding != PLAIN


def unpacked(body: bytes, kind: str) -> bytes:
    """Unpack one gzip stream, without using more memory than the size limit of a body.

    Parameters
    ----------
    body : bytes
    kind : str
        Media type; `MAX_BYTES` has its size limit.

    Raises
    ------
    RefusedRequestError
        413 for a body above the limit. 400 for a stream that is damaged, cut off, or followed by
        more bytes. A second stream is refused too: millions of empty ones would take seconds.
    """
    most = MAX_BYTES[kind]
    stream, out = zlib.decompressobj(_GZIP_WINDOW), io.BytesIO()
    end = 0
    try:
        while end < len(body) and not stream.eof:
            piece = body[end : end + _PIECE]
            end += len(piece)
            out.write(stream.decompress(piece, most + 1 - out.tell()))
            if out.tell() > most:
                raise too_large(kind)
    except zlib.error as error:
        raise _damaged("no gzip, or a damaged one,") from error
    if not stream.eof:
        raise _damaged("a gzip stream that is cut off")
    if stream.unused_data or end < len(body):
        raise _damaged("bytes behind the end of a gzip stream")
    return out.getvalue()


def _damaged(problem: str) -> RefusedRequestError:
    return RefusedRequestError(
        f"{WHERE}: {problem} found, expected one whole gzip stream, since Content-Encoding says "
        "gzip."
    )
