"""Describe the route for the server's OpenAPI page: request bodies and responses."""

from __future__ import annotations

from typing import Any

from coos_mlflow.plates.schema import CELL_SHAPE, CLASSES
from coos_mlflow.serving.gzip_bodies import CODINGS
from coos_mlflow.serving.json_cells import TENSOR_KEYS
from coos_mlflow.serving.limits import JSON, MAX_CELLS, NPY


def documented() -> dict[str, Any]:
    """Return the options of FastAPI's `post` that describe the route."""
    return {
        "summary": "Classify cells",
        "responses": _RESPONSES,
        "openapi_extra": _BODY,
        "response_model": None,
    }


def _numbers(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Return the JSON schema of nested lists, without their lengths.

    The lengths are only in the description, because tools that generate requests from a schema
    fail on lists of exactly 8,192 numbers.
    """
    if not lengths:
        return {"type": "number", "minimum": 0, "maximum": 65535}
    return {"type": "array", "items": _numbers(lengths[1:])}


_SHAPE = (
    f"(N, {', '.join(map(str, CELL_SHAPE))}): cells, [protein, nucleus], height, width; raw camera "
    f"counts, at most {MAX_CELLS} cells"
)
_TENSOR = {
    **_numbers((MAX_CELLS, *CELL_SHAPE)),
    "description": _SHAPE,
}


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly one key of any name."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": schema,
    }


_ROWS = {
    "type": "array",
    "items": _named(_numbers(CELL_SHAPE)),
    "description": "a cell in each row, all under the same name",
}
_CELLS = {"anyOf": [_TENSOR, _named(_TENSOR), _ROWS]}
_BODY = {
    "parameters": [
        {
            "name": "Content-Encoding",
            "in": "header",
            "description": "gzip: the body is one gzip stream. What it unpacks to is bounded as "
            "a plain body is.",
            "schema": {"type": "string", "enum": list(CODINGS)},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "properties": {
                        **dict.fromkeys(TENSOR_KEYS, _CELLS),
                        "params": {"type": ["object", "null"], "maxProperties": 0},
                    },
                    "oneOf": [{"required": [key]} for key in TENSOR_KEYS],
                    "additionalProperties": False,
                }
            },
            NPY: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "an array in NumPy's .npy format, version 1.0 or 2.0, as "
                    f"numpy.save writes it: integers or floats of shape {_SHAPE}",
                }
            },
        },
    },
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "label": {"type": "integer", "minimum": 0, "maximum": len(CLASSES) - 1},
        "class_name": {"type": "string", "enum": list(CLASSES)},
        **{
            f"p_{label}": {"type": "number", "minimum": 0, "maximum": 1}
            for label in range(len(CLASSES))
        },
    },
    "required": ["label", "class_name", *(f"p_{label}" for label in range(len(CLASSES)))],
}
_PREDICTIONS = {
    "type": "object",
    "properties": {"predictions": {"type": "array", "items": _PREDICTION}},
    "required": ["predictions"],
}
_SENTENCE = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _response("A row for each cell, in their order", _PREDICTIONS),
    400: _response("No cells that can be scored; one sentence says why", _SENTENCE),
    413: _response("Too many cells, or too many bytes", _SENTENCE),
    415: _response("Neither JSON nor .npy, or packed otherwise than by gzip", _SENTENCE),
    500: _response("A defect", _SENTENCE),
    503: _response("Too many requests at once", _SENTENCE),
}
