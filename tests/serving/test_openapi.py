"""Our route keeps what its OpenAPI description promises, asked by a tool that knows no more."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


@pytest.mark.slow
def test_schemathesis_finds_nothing(server, tmp_path):
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{server.url}/openapi.json"]
    command += ["--include-path", "/invocations", "--checks", ",".join(CHECKS)]
    command += ["--max-examples", "100", "--seed", "1", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    (generated,) = re.findall(r"(\d+) generated", done.stdout)
    assert int(generated) > 100
