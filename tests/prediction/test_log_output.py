"""A disk that is full, a pipe that is closed or not read, under stdout."""

import dataclasses
import json
import os
import re
from pathlib import Path

import pytest

from services.runtime import LogOutput
from tests.conftest import Models, Service, wait_for


def dropped(service: Service) -> float:
    match = re.search(r"^log_lines_dropped_total (\S+)$", service.get("/metrics").text, re.MULTILINE)
    return float(match[1]) if match else -1.0


@pytest.mark.parametrize("output", ["/dev/full", "closed pipe"])
def test_serving_goes_on_without_a_log(own: Service, models: Models, tmp_path: Path, output: str) -> None:
    models.publish("v1")
    reader = None
    if output == "closed pipe":
        output = str(tmp_path / "pipe")
        os.mkfifo(output)
        reader = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
    service = dataclasses.replace(own, log=Path(output))
    try:
        service.start()
        if reader is not None:
            os.close(reader)
        service.wait_ready()
        before = dropped(service)
        for _ in range(20):
            assert service.get("/predict?range=1").status_code == 200
        wait_for("the count", lambda: dropped(service) >= before + 20)
        assert service.stop() == 0
    finally:
        service.kill()


def test_what_nobody_reads_is_dropped_and_what_is_written_has_whole_lines() -> None:
    read, write = os.pipe()
    output = LogOutput(write)
    line = json.dumps("x" * 1000).encode()
    for _ in range(30_000):
        output.write(line)
    text = b""
    while not text.endswith(b'"last"\n'):
        text += os.read(read, 1 << 20)
        if text.endswith(b"\n"):
            output.write(b'"last"')
    lines = text.splitlines()
    assert 5_000 < len(lines) < 25_000
    assert set(lines) == {line, b'"last"'}
    output.close()
    os.close(read)
    os.close(write)
