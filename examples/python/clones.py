"""Boots a web server once, and serves with clones of it: python clones.py [NUMBER]"""

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from pyvmm import Machine, MachineConfig, build, share, vsock

HERE = Path(__file__).resolve().parent
SERVER = HERE.parent / "StaticWebServer" / "StaticWebServer.pas"


def devices(cid: int) -> list:
    return [vsock(cid, publish=["0:80"]), share(f"{HERE}:site:ro")]


def main(number: str = "3") -> None:
    image = build(str(SERVER))
    with TemporaryDirectory() as folder, ExitStack() as stack:
        file = f"{folder}/server.frozen"
        config = MachineConfig(str(image), command_line="virtiovsocket,virtiofs,site,noconsole")
        with Machine(config, devices(5), log=print) as machine:
            machine.start()
            assert machine.console
            machine.console.read_until(b"listening\n")
            machine.freeze(file)
        for index in range(int(number)):
            clone = stack.enter_context(Machine.thaw(file, devices(6 + index), log=print))
            clone.start()
            address, port = clone.ports[80]
            with urlopen(f"http://{address}:{port}/clones.py") as answer:
                print(f"clone {index}: {answer.status}, {len(answer.read())} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
