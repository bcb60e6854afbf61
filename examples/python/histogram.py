"""How long HelloWorld takes from the first KVM_RUN to its first line of Pascal: python histogram.py [BOOTS]"""

import os
import sys
from collections import Counter
from pathlib import Path

from pyvmm import Machine, MachineConfig, build

HELLO = Path(__file__).resolve().parents[1] / "HelloWorld" / "HelloWorld.pas"


def boot_us(config: MachineConfig, console: tuple[int, int]) -> int:
    """One boot, in microseconds."""
    with Machine(config, console=console) as machine:
        machine.run()
        return (machine.measures.guest_marks()["application"] - machine.measures.first_run_ns()) // 1000


def main(boots: int = 100) -> None:
    config = MachineConfig(str(build(str(HELLO))))
    nowhere = os.open(os.devnull, os.O_RDWR)
    times = sorted(boot_us(config, (nowhere, nowhere)) for _ in range(boots))
    os.close(nowhere)
    step = max(1, (times[-1] - times[0]) // 15)
    bars = Counter((time - times[0]) // step for time in times)
    for row in range(max(bars) + 1):
        print(f"{(times[0] + row * step) / 1000:8.2f} ms  {'#' * bars[row]}")
    print(f"median {times[boots // 2] / 1000:.2f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
