"""Read the stored tensors of an ONNX file, without the package onnx.

Protocol Buffers skip fields that a schema does not name. So the five fields of https://onnx.ai's
``onnx.proto`` that hold names, shapes and values are enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FLOAT = 1
"""float32 among the values of `TensorProto.DataType`."""

_SCHEMA = """
name: "tensors.proto" package: "tensors"
message_type { name: "Tensor"
  field { name: "dims" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
  field { name: "data_type" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }
  field { name: "name" number: 8 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "raw_data" number: 9 label: LABEL_OPTIONAL type: TYPE_BYTES } }
message_type { name: "Graph"
  field { name: "initializer" number: 5 label: LABEL_REPEATED
          type: TYPE_MESSAGE type_name: ".tensors.Tensor" } }
message_type { name: "Model"
  field { name: "graph" number: 7 label: LABEL_OPTIONAL
          type: TYPE_MESSAGE type_name: ".tensors.Graph" } }
"""


def read_initialisers(content: bytes) -> dict[str, np.ndarray]:
    """Return the float32 tensors that an ONNX model stores as raw bytes, by name.

    Parameters
    ----------
    content : bytes
        A whole ONNX file, which must be sound: it is compared with a digest before.
    """
    return {
        tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tensor.dims)
        for tensor in _model_class().FromString(content).graph.initializer
        if tensor.data_type == FLOAT
    }


def _model_class() -> Any:
    schema = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(schema.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensors.Model"))
