"""`--trace` of Toro programs: requests to shares, and turns of the vsock thread."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from guests import Result

from pyvmm.host.virtiofsd import PROGRAMS

needs_virtiofsd = pytest.mark.skipif(
    not any(os.access(program, os.X_OK) for program, _ in PROGRAMS),
    reason="needs virtiofsd (Debian 12: qemu-system-common)",
)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory as Files.pas expects it."""
    made = tmp_path / "shared"
    (made / "given").mkdir(parents=True)
    (made / "given/hello").write_text("Hello, world\n")
    (made / "given/a name with spaces and ünïcödé").touch()
    return made


@needs_virtiofsd
@pytest.mark.parametrize("cpus", [1, 4])
def test_each_request_is_there(toro: Callable[..., Result], shared: Path, tmp_path: Path, cpus: int) -> None:
    requests, timeline = tmp_path / "fs", tmp_path / "exits"
    result = toro(
        "Files", "--cpus", str(cpus), "--share", f"{shared}:FS", "--trace", f"fs={requests}", "--trace",
        f"exits={timeline}",
    )  # fmt: skip
    assert result.status == 0
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 41
    assert all(line.startswith("ok ") for line in lines)
    found: list[dict[str, Any]] = [json.loads(line) for line in requests.read_text().splitlines()]
    assert sorted(request["unique"] for request in found) == list(range(1, len(found) + 1))
    counts = Counter(request["op"] for request in found)
    assert counts["INIT"] == 1
    assert counts["CREATE"] > 100 < counts["UNLINK"]
    assert all(request["ns"] > 0 and request["share"] == "FS" for request in found)
    assert {"name": "nothing", "error": "ENOENT"}.items() <= next(
        request for request in found if request.get("name") == "nothing"
    ).items()
    hello = next(request for request in found if request["op"] == "READ")
    assert (hello["offset"], hello["received"]) == (0, 16 + hello["size"])
    events = json.loads(timeline.read_text())["traceEvents"]
    assert Counter(event["name"] for event in events if event["ph"] == "b") == counts
