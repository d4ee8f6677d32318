"""Our route of the server keeps what its OpenAPI description promises, asked by a tool that knows nothing else."""

import json
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
    command += ["--include-path", "/invocations", "--checks", ",".join(CHECKS), "--max-examples", "100", "--seed", "1"]
    command += ["--report", "ndjson", "--report-dir", tmp_path / "report", "--no-color"]
    command += ["--workers", "1", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    lines = [json.loads(line) for p in (tmp_path / "report").iterdir() for line in p.open()]
    assert len(lines) > 100
    assert "/invocations" in done.stdout or "POST" in json.dumps(lines)
