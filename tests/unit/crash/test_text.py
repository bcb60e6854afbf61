"""pyvmm.crash.text: the one line that says what has happened."""

from __future__ import annotations

from reports import report

from pyvmm.crash.text import headline


def test_the_headline_says_where() -> None:
    assert headline(report()) == "vCPU 0 at 0x1000: hang, in Unit.Routine+3 at Unit.pas:12"


def test_the_headline_of_a_panic_has_who_called_for_it() -> None:
    broken = report(kind="panic")
    broken["vcpus"][0]["backtrace"].append({"address": "0x2000", "function": "Caller+1", "line": ""})
    assert headline(broken).endswith(", in Caller+1")
