"""What `pyvmm doctor` finds out about one thing of the host."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        level: `ok`; `note`: guests boot, but something is slow, missing or unsafe; `fault`: none boots.
        what: what was looked at.
        found: what it is like.
        remedy: what to do about it; empty where nothing is to be done.
    """

    level: Literal["ok", "note", "fault"]
    what: str
    found: str
    remedy: str = ""
