"""Builds a Toro application and boots it, with the options of the script of this name that other Toro trees have.

    cd examples/HelloWorld
    python3 ../CloudIt.py -a HelloWorld

The machine is as `qemu.args` in the current directory says, if there is such a file: memory, CPUs, command line,
vsock's CID, a share's tag, and the file of a virtio-console. Other words of it are left alone.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds a Toro application and boots it with pyvmm.")
    add = parser.add_argument
    add("-a", "--application", required=True, metavar="NAME", help="the application is NAME.pas")
    add("-o", "--output", metavar="FILE", help="what the guest prints goes there")
    add("-v", "--verbose", action="store_true", help="print the commands")
    add("-p", "--pinning", nargs="+", default=[], metavar="CPU", help="host CPUs for the vCPUs, in turn")
    add("-f", "--forward", nargs="+", default=[], metavar="HOST:GUEST", help="ports of the host that lead to the guest")
    add("-c", "--clean", action="store_true", help="remove what was built before")
    add("-s", "--shutdown", action="store_true", help="define ShutdownWhenFinished; pyvmm's guests always do that")
    add("-r", "--root", action="store_true", help="boot with sudo")
    add("-l", "--logs", action="store_true", help="write the log of WriteDebug at the end")
    add("-d", "--directory", metavar="DIR", help="a directory that the guest shares")
    return parser.parse_args()


def machine(file: Path) -> dict[str, str]:
    """What qemu.args says about the machine, in pyvmm's words."""
    found = {"memory": "128M", "cpus": "1", "tag": "FS"}
    words = shlex.split(file.read_text()) if file.is_file() else []
    for option, value in zip(words, words[1:], strict=False):
        if option == "-m":
            found["memory"] = value if value[-1].isalpha() else value + "M"
        elif option == "-smp":
            found["cpus"] = value
        elif option == "-append":
            found["append"] = value
        elif option == "-device" and (cid := re.search(r"vhost-vsock-device,.*\bguest-cid=(\d+)", value)):
            found["vsock"] = cid[1]
        elif option == "-device" and (tag := re.search(r"vhost-user-fs-device,.*\btag=([^,]+)", value)):
            found["tag"], found["fs"] = tag[1], tag[0]
        elif option == "-chardev" and (path := re.search(r"^file,.*\bpath=([^,]+)", value)):
            found["console"] = path[1]
        elif option == "-chardev" and (path := re.search(r"^socket,.*\bpath=([^,]+)", value)):
            found["socket"] = path[1]
    return found


def boot_options(given: argparse.Namespace, found: dict[str, str]) -> list[str]:
    """The options of `pyvmm boot`."""
    options = ["--mem", found["memory"], "--cpus", found["cpus"]]
    if "append" in found:
        options += ["--append", found["append"]]
    if "vsock" in found or given.forward:
        options += ["--vsock", found.get("vsock", "5")]
    for ports in given.forward:
        options += ["-p", ports]
    if "console" in found:
        options += ["--console", f"virtio=file:{found['console']}"]
    if given.directory:
        options += ["--share", f"{given.directory}:{found['tag']}"]
    elif "fs" in found and "socket" in found:
        options += ["--share", f"socket={found['socket']}:{found['tag']}"]
    if given.pinning:
        cpus = [given.pinning[i % len(given.pinning)] for i in range(int(found["cpus"]))]
        options += ["--pin", ",".join(cpus)]
    return options


def main() -> int:
    """Builds and boots; returns the guest's exit status."""
    given = arguments()
    pyvmm = shutil.which("pyvmm") or str(Path(sys.executable).with_name("pyvmm"))

    def run(command: list[str], output: str | None = None) -> int:
        if given.verbose:
            print(shlex.join(command), flush=True)
        if not output:
            return subprocess.run(command).returncode
        with open(output, "wb") as file:
            return subprocess.run(command, stdout=file).returncode

    image = f"{given.application}.elf"
    if given.clean:
        Path(image).unlink(missing_ok=True)
    symbols = ["-d", "EnableDebug"] * given.logs + ["-d", "ShutdownWhenFinished"] * given.shutdown
    built = run([pyvmm, "build", f"{given.application}.pas", *symbols])
    if built:
        return built
    sudo = ["sudo"] if given.root else []
    return run([*sudo, pyvmm, "boot", image, *boot_options(given, machine(Path("qemu.args")))], given.output)


if __name__ == "__main__":
    sys.exit(main())
