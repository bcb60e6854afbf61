"""Runs tests/fuzz for a short time under sanitizers; `make fuzz` runs it for longer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "least"), [("queue", 10_000), ("vsock", 500), ("emulate", 10_000), ("state", 500)])
def test_mutated_inputs_under_sanitizers(name: str, least: int) -> None:
    fuzzer = f"build/fuzz/{name}"
    subprocess.run(["make", "-s", "-C", str(ROOT), fuzzer], check=True)
    corpus = sorted(map(str, (ROOT / "tests/fuzz/corpus" / name).iterdir()))
    done = subprocess.run([ROOT / fuzzer, "2", "1", *corpus], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[0]) > least


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_threads_that_race_for_devices_under_sanitizers(sanitizer: str) -> None:
    races = f"build/fuzz/lifecycle-{sanitizer}"
    subprocess.run(["make", "-s", "-C", str(ROOT), races], check=True)
    done = subprocess.run([ROOT / races, "3", "1"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    writes, starts, changes, resets, broken, chains = (int(part.split()[0]) for part in done.stdout.split(", "))
    assert writes > starts > 100
    assert min(changes, resets, broken, chains) > 50
