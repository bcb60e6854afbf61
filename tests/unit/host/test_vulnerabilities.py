"""pyvmm.host.vulnerabilities: the kernel's words, with what to do about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvmm.host.vulnerabilities import vulnerabilities


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Not affected", ""),
        ("Mitigation: PTI", ""),
        ("Vulnerable", "microcode"),
        ("KVM: Vulnerable", "microcode"),
        ("Mitigation: PTE Inversion; VMX: cache flushes, SMT vulnerable", "nosmt"),
    ],
)
def test_words_of_the_kernel(text: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "l1tf").write_text(f"{text}\n")
    (finding,) = vulnerabilities(tmp_path)
    assert finding.level == ("note" if remedy else "ok")
    assert remedy in finding.remedy
    assert not remedy or finding.found == text


def test_a_virtual_host_depends_on_the_one_below(tmp_path: Path) -> None:
    (tmp_path / "mds").write_text("Vulnerable\n")
    (finding,) = vulnerabilities(tmp_path, is_virtual=True)
    assert "host below" in finding.remedy


def test_a_kernel_that_does_not_tell(tmp_path: Path) -> None:
    (finding,) = vulnerabilities(tmp_path / "absent")
    assert (finding.level, finding.remedy) == ("note", "take Linux 4.15 or later")
