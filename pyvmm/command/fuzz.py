"""`pyvmm fuzz`: tests a virtio device with drivers that are honest and drivers that are not."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

from pyvmm.command.options import only_operand, parse
from pyvmm.command.python import become, is_executable
from pyvmm.errors import HostError, PyvmmError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.testing.fuzzer import Finding, Report
    from pyvmm.testing.profile import Profile
    from pyvmm.testing.targets import Target

_SECONDS = 60.0
STATUS_FOUND = 1


def fuzz(words: list[str]) -> int:
    """Tests a device and reports.

    Args:
        words: what follows the command.

    Returns:
        The exit status: 1 if something was found.

    Raises:
        PyvmmError: the command line is wrong, or there is no such device.
    """
    operands, options, _ = parse("fuzz", words)
    name = only_operand("fuzz", operands)
    seconds = _number("--time", options.get("--time", str(_SECONDS)))
    seed = int(_number("--seed", options["--seed"])) if "--seed" in options else int.from_bytes(os.urandom(4))
    folder = Path(options.get("-o", "."))
    if is_executable():
        become(["-m", "pyvmm", "fuzz", *words], "fuzzers")
    try:
        import hypothesis  # noqa: F401 - found out before anything is started
    except ImportError:
        raise PyvmmError("fuzz: needs hypothesis; install it beside pyvmm (`pip install hypothesis`)") from None
    from pyvmm.testing.fuzzer import fuzz as look
    from pyvmm.testing.profile import profile_of
    from pyvmm.testing.targets import target

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(str(folder), error.errno or 0) from None
    chosen = target(name)
    profile = profile_of(chosen.make())
    print(f"{name} for {seconds:g} s, seed {seed}", flush=True)
    report = look(chosen.make, seconds, seed, lambda finding: _save(finding, chosen, profile, folder))
    print(_summary(report))
    return STATUS_FOUND if report.findings else 0


def _number(option: str, text: str) -> float:
    try:
        number = float(text) if option == "--time" else int(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise UsageError(f"{option} {text}: not a number of 0 or more")
    return number


def _save(finding: Finding, target: Target, profile: Profile, folder: Path) -> None:
    """Writes a finding's files, under a name that is not in use, and prints it."""
    from pyvmm.testing.case import python_file
    from pyvmm.testing.guest import guest_image

    number = 1
    while (path := folder / f"finding-{number}.py").exists():
        number += 1
    image = path.with_suffix(".elf")
    try:
        path.write_text(python_file(finding.problem, finding.steps, target.name, finding.honest))
        image.write_bytes(guest_image(finding.steps, profile.device_id, len(profile.sizes)))
    except OSError as error:
        raise HostError(str(error.filename), error.errno or 0) from None
    print(f"\n{finding}\nsaved as {path} and {image}")
    if finding.details:
        print(finding.details, file=sys.stderr)
    sys.stdout.flush()


def _summary(report: Report) -> str:
    """What was run and seen: a state is Status, the states of the queues, and the step that followed."""
    seen = Counter(state.partition(" ")[0] for state in report.states)
    by_status = ", ".join(f"{count} with Status {status}" for status, count in sorted(seen.items()))
    return (
        f"\n{report.cases} cases of {report.steps} steps; {len(report.states)} states of device, queues and step "
        f"({by_status}); findings: {len(report.findings)}"
    )
