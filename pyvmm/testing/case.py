"""A case as a file: a Python program that runs it again on its target."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pyvmm.errors import STATUS_PYVMM_FAILED, PyvmmError
from pyvmm.testing.targets import target
from pyvmm.testing.worker import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.testing.steps import Step


def python_file(problem: str, steps: Sequence[Step], target_name: str, honest: bool) -> str:
    """The text of a program that runs a case again.

    Args:
        problem: what the device did wrong, for the reader.
        steps: the case.
        target_name: see `target`.
        honest: see `run`.
    """
    names = sorted({type(step).__name__ for step in steps})
    imports = "".join(f"    {name},\n" for name in [*names, "replay"])
    listed = "".join(f"    # {step}\n    {step!r},\n" for step in steps)
    said = problem.replace("\\", "\\\\").replace('"""', "'''")
    return f'''"""{said}

Found by `pyvmm fuzz {target_name}`. This program does it again, and then exits with status 1.
"""

from pyvmm.testing import (
{imports})

STEPS = [
{listed}]

if __name__ == "__main__":
    raise SystemExit(replay(STEPS, {target_name!r}, honest={honest}))
'''


def replay(steps: Sequence[Step], target_name: str, honest: bool = False) -> int:
    """Runs a case, and prints what came of it.

    Args:
        steps: the case.
        target_name: see `target`.
        honest: see `run`.

    Returns:
        An exit status: 1 if the device did something wrong, 0 if not, 125 if it cannot be made.
    """
    try:
        outcome = run(steps, target(target_name).make, honest)
    except PyvmmError as error:
        print(error, file=sys.stderr)
        return STATUS_PYVMM_FAILED
    print(outcome.problem or "nothing was found")
    if outcome.details:
        print(outcome.details)
    return bool(outcome.problem)
