"""Describe the route for the server's OpenAPI page: request bodies and responses."""

from __future__ import annotations

from typing import Any

from coos_mlflow.plates.dataset import Dataset
from coos_mlflow.serving.gzip_bodies import CODINGS
from coos_mlflow.serving.json_cells import TENSOR_KEYS
from coos_mlflow.serving.limits import JSON, MAX_CELLS, NPY


def documented(dataset: Dataset) -> dict[str, Any]:
    """Return the options of FastAPI's `post` that describe the route for a data set's cells."""
    return {
        "summary": "Classify cells",
        "responses": _responses(dataset),
        "openapi_extra": _body(dataset.cell_shape),
        "response_model": None,
    }


def _numbers(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Return the JSON schema of nested lists, without their lengths.

    The lengths are only in the description, because tools that generate requests from a schema
    fail on lists of exactly thousands of numbers.
    """
    if not lengths:
        return {"type": "number", "minimum": 0, "maximum": 65535}
    return {"type": "array", "items": _numbers(lengths[1:])}


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object with exactly one key of any name."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": schema,
    }


def _body(cell: tuple[int, ...]) -> dict[str, Any]:
    shape = (
        f"(N, {', '.join(map(str, cell))}): cells, [protein, nucleus], height, width; raw camera "
        f"counts, at most {MAX_CELLS} cells"
    )
    tensor = {**_numbers((MAX_CELLS, *cell)), "description": shape}
    rows = {
        "type": "array",
        "items": _named(_numbers(cell)),
        "description": "a cell in each row, all under the same name",
    }
    json_body = {
        "type": "object",
        "properties": {
            **{key: {"anyOf": [tensor, _named(tensor), rows]} for key in TENSOR_KEYS},
            "params": {"type": ["object", "null"], "maxProperties": 0},
        },
        "oneOf": [{"required": [key]} for key in TENSOR_KEYS],
        "additionalProperties": False,
    }
    npy_body = {
        "type": "string",
        "format": "binary",
        "description": "an array in NumPy's .npy format, version 1.0 or 2.0, as numpy.save writes "
        f"it: integers or floats of shape {shape}",
    }
    return {
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "description": "gzip: the body is one gzip stream. What it unpacks to is bounded "
                "as a plain body is.",
                "schema": {"type": "string", "enum": list(CODINGS)},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": json_body}, NPY: {"schema": npy_body}},
        },
    }


def _prediction(dataset: Dataset) -> dict[str, Any]:
    probabilities = [f"p_{label}" for label in range(dataset.n_classes)]
    return {
        "type": "object",
        "properties": {
            "label": {"type": "integer", "minimum": 0, "maximum": dataset.n_classes - 1},
            "class_name": {"type": "string", "enum": list(dataset.class_names)},
            **{name: {"type": "number", "minimum": 0, "maximum": 1} for name in probabilities},
        },
        "required": ["label", "class_name", *probabilities],
    }


_SENTENCE = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _responses(dataset: Dataset) -> dict[int | str, dict[str, Any]]:
    predictions = {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": _prediction(dataset)},
            "class_names": {
                "type": "array",
                "items": {"type": "string"},
                "description": "names of the labels 0, 1, ...",
            },
        },
        "required": ["predictions", "class_names"],
    }
    return {
        200: _response("A row for each cell, in their order", predictions),
        400: _response("No cells that can be scored; one sentence says why", _SENTENCE),
        413: _response("Too many cells, or too many bytes", _SENTENCE),
        415: _response("Neither JSON nor .npy, or packed otherwise than by gzip", _SENTENCE),
        500: _response("A defect", _SENTENCE),
        503: _response("Too many requests at once", _SENTENCE),
    }
