"""`pyvmm doctor` on this host, and where there is no KVM."""

from __future__ import annotations

import json

import pytest
from guests import pyvmm

from pyvmm.command import doctor
from pyvmm.kvm import Kvm


def test_guests_boot_here() -> None:
    done = pyvmm("doctor")
    assert (done.status, done.stderr) == (0, "")
    *lines, verdict = done.stdout.decode().splitlines()
    assert verdict == "guests boot here"
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    assert any(line.startswith("ok     trial: a guest has booted and ended, in ") for line in lines)
    assert all("; " in line for line in lines if line.startswith("note"))


def test_json_has_the_same() -> None:
    found = json.loads(pyvmm("doctor", "--json").stdout)
    assert {"/dev/kvm", "trial", "virtiofsd", "memory", "Landlock"} <= {each["what"] for each in found}
    assert all(each["level"] == "ok" or each["remedy"] for each in found)


@pytest.mark.parametrize(
    ("path", "found", "remedy"),
    [
        ("/dev/absent", "No such file", "load kvm_intel"),
        ("/dev/null", "Inappropriate ioctl", "it is not the KVM device"),
    ],
)
def test_no_guest_boots_without_kvm(path: str, found: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "Kvm", lambda: Kvm(path))
    text, status = doctor.doctor([])
    assert status == doctor.STATUS_SICK == 1
    line = text.splitlines()[0]
    assert line.startswith("fault  /dev/kvm: ")
    assert found in line
    assert remedy in line or "container" in line
    assert text.endswith("no guest boots here; see each `fault`\n")


def test_a_guest_that_does_not_end_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_GUEST", b"\xf4\xeb\xfd")  # hlt, again and again
    monkeypatch.setattr(doctor, "_PATIENCE", 0.1)
    text, status = doctor.doctor([])
    assert status == 1
    assert "fault  trial: a guest of a few instructions has not ended after 0.1 s; " in text


def test_an_operand_is_a_mistake() -> None:
    done = pyvmm("doctor", "kvm")
    assert (done.status, done.stderr) == (125, "pyvmm: kvm: doctor has no operand\n")
