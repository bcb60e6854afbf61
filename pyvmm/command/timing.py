"""`--timing`: how long each step took, from the process's start to the guest's end.

All marks are CLOCK_MONOTONIC in ns. The guest's are its own TSC readings,
converted with the offset that KVM tells and the rate measured over the run; one
that the guest did not make is shown as unknown.
"""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm.errors import HostError
from pyvmm.measures import EXIT_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.machine import Machine

#: The steps in order, and where each mark comes from.
STEPS = (
    ("process start", "host"),
    ("interpreter ready", "host"),
    ("imports done", "host"),
    ("state ready", "host"),
    ("vm created", "host"),
    ("memory ready", "host"),
    ("vCPUs ready", "host"),
    ("first KVM_RUN", "host"),
    ("first instruction", "guest"),
    ("kernel start", "guest"),
    ("application start", "guest"),
    ("exit", "host"),
)
_GUEST_MARKS = {"first instruction": "entry", "kernel start": "kernel", "application start": "application"}

_INTERPRETER = ("interpreter ready", "imports done")
_STDERR = 2
_SVG_WIDTH, _SVG_ROW, _SVG_LEFT = 880, 26, 160
_COLOURS = {"host": "#4878a8", "guest": "#d08040"}


def _write(fd: int, text: str) -> None:
    """All of it: a file system that is nearly full takes a part at first."""
    rest = text.encode()
    while rest:
        rest = rest[os.write(fd, rest) :]


def open_report(path: str) -> int:
    """Opens the file for a report, which a confined process cannot.

    Raises:
        HostError: it cannot be made.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise HostError(f"--timing={path}", error.errno or 0) from None


class Timeline:
    """The steps of one boot.

    Args:
        marks: CLOCK_MONOTONIC in ns by step; those of the machine and of its
            guest are added.

    Attributes:
        origin_ns: CLOCK_MONOTONIC of the first step.
        steps: (name, "host" or "guest", ns since the first step or None) of
            every step in the order of time, unknown ones last. A thawed guest runs before there
            is an interpreter.
        interpreter: whether it started before the guest ended.
        exits: how many exits of each kind the guest has had.
        emulated: how many of its instructions pyvmm has executed because KVM could not.
        interpreted: how many KVM has executed because the CPU could not, or None.
    """

    def __init__(self, machine: Machine, marks: dict[str, int]) -> None:
        guest = machine.measures.guest_marks()
        known = marks | machine.marks
        if first_run := machine.measures.first_run_ns():
            known["first KVM_RUN"] = first_run
        known |= {step: guest[mark] for step, mark in _GUEST_MARKS.items() if mark in guest}
        self.interpreter = known.get("interpreter ready", 0) < known.get("exit", 1 << 63)
        steps = STEPS if self.interpreter else [step for step in STEPS if step[0] not in _INTERPRETER]
        self.origin_ns = origin = known[next(name for name, _ in steps if name in known)]
        self.steps = [(name, side, known[name] - origin if name in known else None) for name, side in steps]
        if machine.is_thawed:
            self.steps.sort(key=lambda step: 1 << 63 if step[2] is None else step[2])
        self.exits = {EXIT_NAMES.get(kind, str(kind)): count for kind, count in machine.measures.exits().items()}
        self.emulated = machine.measures.emulated()
        self.interpreted = machine.measures.interpreted()

    def report(self, path: str, fd: int = -1) -> None:
        """Writes the table to stderr, or with a `path` JSON or SVG to that file.

        Args:
            path: the file.
            fd: its descriptor if it is open already (see `open_report`), which is closed.

        Raises:
            HostError: the file cannot be written.
        """
        if not path:
            try:
                _write(_STDERR, self.table())
            except OSError:  # nobody listens
                pass
            return
        text = self.json() if path.endswith(".json") else self.svg()
        if fd < 0:
            fd = open_report(path)
        try:
            try:
                _write(fd, text)
            finally:
                os.close(fd)
        except OSError as error:
            raise HostError(f"--timing={path}", error.errno or 0) from None

    def table(self) -> str:
        """The steps as text, with the time since the start and since the step before."""
        lines = [f"{'step':<20}{'at ms':>10}{'+ ms':>10}\n"]
        before = 0
        for name, _, at in self.steps:
            if at is None:
                lines.append(f"{name:<20}{'unknown':>10}\n")
            else:
                lines.append(f"{name:<20}{at / 1e6:>10.3f}{(at - before) / 1e6:>10.3f}\n")
                before = at
        if not self.interpreter:
            lines.append("interpreter: not started\n")
        exits = ", ".join(f"{count} {name}" for name, count in self.exits.items()) or "none"
        lines.append(f"exits: {exits}\n")
        if self.emulated:
            lines.append(f"instructions emulated: {self.emulated}\n")
        if self.interpreted:
            lines.append(f"instructions that KVM interpreted: {self.interpreted}\n")
        return "".join(lines)

    def json(self) -> str:
        """As the attributes are named; each step is `{"name", "side", "ns"}`, and an unknown time is null."""
        import json

        steps = [{"name": name, "side": side, "ns": at} for name, side, at in self.steps]
        document = {
            "origin_ns": self.origin_ns,
            "steps": steps,
            "interpreter": self.interpreter,
            "exits": self.exits,
            "emulated": self.emulated,
            "interpreted": self.interpreted,
        }
        return json.dumps(document, indent=2) + "\n"

    def svg(self) -> str:
        """A picture: a bar for each phase, from the step before to the step it is named after."""
        known = [(name, side, at) for name, side, at in self.steps if at is not None]
        end = max(at for _, _, at in known) or 1
        scale = (_SVG_WIDTH - _SVG_LEFT - 90) / end
        height = _SVG_ROW * (len(self.steps) + 2)
        rows = []
        before = 0
        for row, (name, side, at) in enumerate(self.steps):
            y = row * _SVG_ROW + _SVG_ROW
            rows.append(f'<text x="{_SVG_LEFT - 8}" y="{y}" text-anchor="end">{name}</text>')
            if at is None:
                rows.append(f'<text x="{_SVG_LEFT}" y="{y}" fill="#888">unknown</text>')
                continue
            x, width = _SVG_LEFT + min(before, at) * scale, max(abs(at - before) * scale, 1)
            rows.append(
                f'<rect x="{x:.1f}" y="{y - 13}" width="{width:.1f}" height="16" fill="{_COLOURS[side]}"/>'
                f'<text x="{x + width + 5:.1f}" y="{y}">{(at - before) / 1e6:.3f} ms</text>'
            )
            before = at
        for x, (side, colour) in zip((_SVG_LEFT, _SVG_LEFT + 70), _COLOURS.items(), strict=True):
            rows.append(f'<rect x="{x}" y="{height - 21}" width="12" height="12" fill="{colour}"/>')
            rows.append(f'<text x="{x + 17}" y="{height - 10}">{side}</text>')
        rows.append(f'<text x="{_SVG_LEFT + 140}" y="{height - 10}">{end / 1e6:.3f} ms in all</text>')
        body = "\n".join(rows)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SVG_WIDTH}" height="{height}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
            f"{body}\n</svg>\n"
        )
