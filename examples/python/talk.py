"""Boots the web server with a directory of the host, and asks it for a file: python talk.py [DIRECTORY]"""

import sys
from pathlib import Path
from urllib.request import urlopen

from pyvmm import Machine, MachineConfig, build, share, vsock

HERE = Path(__file__).resolve().parent
SERVER = HERE.parent / "StaticWebServer" / "StaticWebServer.pas"


def main(directory: str = str(HERE)) -> None:
    image = build(str(SERVER))
    devices = [vsock(5, publish=["0:80"]), share(f"{directory}:site:ro")]
    config = MachineConfig(str(image), vsock=5, command_line="virtiovsocket,virtiofs,site")
    with Machine(config, devices, log=print) as machine:
        machine.start()
        address, port = machine.ports[80]
        with urlopen(f"http://{address}:{port}/talk.py") as answer:
            print(f"{answer.status}: {len(answer.read())} bytes of this program")
        assert machine.console
        print("the guest's console:", machine.console.read_until(b"\n").decode(), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
