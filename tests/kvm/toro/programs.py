"""Toro programs as guests, and one that does what it is told."""

from __future__ import annotations

from pathlib import Path

from guests import toro_image

from pyvmm.machine import Machine

HERE = Path(__file__).parent


class Programs:
    """Compiles the Pascal programs of this folder, or any other, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: dict[Path, str] = {}

    def image(self, source: Path | str) -> str:
        """The image of `NAME` (NAME.pas in this folder) or of a path."""
        path = HERE / f"{source}.pas" if isinstance(source, str) else source
        if path not in self._images:
            self._images[path] = toro_image(path, self._folder)
        return self._images[path]


class Talking:
    """A guest that does what the lines of its input say."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        assert machine.console
        self._console = machine.console

    def says(self) -> str:
        """The guest's next line."""
        return self._console.read_until(b"\n").decode().rstrip()

    def do(self, line: str) -> None:
        self._console.write(line.encode() + b"\n")

    def ask(self, line: str) -> str:
        """What the guest says to a line."""
        self.do(line)
        return self.says()
