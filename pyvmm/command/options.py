"""What users type: every command and option, and the reading of a command line by them.

`pyvmm --help`, the manual page and the shells' completions are made of the same table. It
consists of constants, which a boot finds ready made in the executable; argparse would take
longer to import than a guest takes to boot.
"""

from __future__ import annotations

from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    #: Name, what follows it, its placeholder, what that may be, and what it is for.
    #:
    #: A `flag` has no value and an `optional` one only as in `--timing=FILE`; a `value` follows as
    #: a word of its own or behind an equals sign, and so does one that is `repeatable`. What a
    #: shell completes it with is FILE, DIRECTORY, file names such as `*.c`, or one of some words.
    Option = tuple[str, str, str, str, str]
    #: Placeholder of its operand (empty if it has none), what that may be, a summary, a description, and its options.
    Command = tuple[str, str, str, str, tuple[Option, ...]]

_MACHINE: tuple[Option, ...] = (
    ("--mem", "value", "SIZE", "", "guest memory, `16M` to `512G` (128M)"),
    ("--cpus", "value", "N", "", "number of vCPUs (1)"),
    ("--pin", "value", "LIST", "auto", "the host CPU of each vCPU: `0,2-3`, or `auto` to take one after the other"),
    ("--append", "value", "TEXT", "", "the guest's command line"),
    (
        "--boot",
        "value",
        "PROTOCOL",
        "direct toro-fast pvh linux",
        "how to start the image: `direct`, `toro-fast`, `pvh` or `linux`; by default the first that it offers",
    ),
    ("--initrd", "value", "FILE", "FILE", "an initial RAM disk (`pvh`, `linux`)"),
)
DEVICES: tuple[Option, ...] = (
    ("--vsock", "value", "CID", "", "a virtio-vsock device; CID is the guest's context ID, 3 or more"),
    (
        "-p",
        "repeatable",
        "[ADDR:]HOSTPORT:GUESTPORT | [ADDR:]* | fd:GUESTPORT",
        "",
        "publish the guest's vsock port at a TCP port of the host, on 127.0.0.1 by default; port 0 takes any free one "
        "and prints it; `*` publishes each port at which a Toro program listens, under the same number; `fd` is the "
        "next socket that systemd has passed",
    ),
    (
        "--allow",
        "repeatable",
        "PORT[=HOST:PORT] | all",
        "all",
        "let the guest connect to a port of CID 2, which leads to HOST:PORT (127.0.0.1:PORT); `all` allows every port",
    ),
    (
        "--vsock-uds",
        "value",
        "PATH",
        "FILE",
        "a Unix socket that works like Firecracker's: its clients write `CONNECT PORT`, and the guest's connections "
        "to port P of CID 2 reach PATH_P",
    ),
    ("--vsock-backlog", "value", "N", "", "how many clients may wait at each port until the guest is up (1024)"),
    ("--pcap", "value", "FILE", "FILE", "write each vsock packet to FILE, which Wireshark opens (pcapng)"),
    (
        "--net",
        "value",
        "NETWORK[:IP]",
        "",
        "give the guest an address of its own in a network of `pyvmm net`; ports are published there",
    ),
    (
        "--netns",
        "value",
        "NAME",
        "",
        "publish and connect in this network namespace, of `pyvmm net add`, `ip netns` or a path",
    ),
    (
        "--console",
        "value",
        "virtio=file:PATH | virtio=unix:PATH | virtio=pty",
        "virtio=file: virtio=unix: virtio=pty",
        "a virtio-console beside the UART, connected to a file, to a client of a Unix socket, or to a "
        "pseudo-terminal, whose name is printed",
    ),
    (
        "--share",
        "repeatable",
        "DIR:TAG[:ro][:cache=MODE][:xattr][:flock][:restart=no] | socket=PATH:TAG",
        "DIRECTORY",
        "a directory of the host as the virtio-fs device TAG, served by virtiofsd, or by a vhost-user backend that "
        "listens at PATH; MODE is `auto`, `always` or `none`",
    ),
)
_JSON: Option = ("--json", "flag", "", "", "as JSON")
COMMANDS: dict[str, Command] = {
    "boot": (
        "IMAGE",
        "FILE",
        "boot an image; its console is stdin and stdout",
        "The image is an ELF file that `pyvmm build` made, or another kernel with a PVH note, or Linux. pyvmm's own "
        "messages go to stderr. Ctrl-C ends the guest; SIGTERM asks a Toro program to end.",
        (
            *_MACHINE,
            *DEVICES,
            (
                "--timing",
                "optional",
                "FILE",
                "FILE",
                "how long each step took: a table on stderr, or FILE, which is .json or .svg",
            ),
            (
                "--trace",
                "repeatable",
                "exits=FILE | fs=FILE",
                "exits= fs=",
                "record what vCPUs and devices do, and when: `exits` as a timeline for Perfetto or chrome://tracing, "
                "with a table of exits on stderr; `fs` the requests to shares, as lines of JSON",
            ),
            (
                "--freeze",
                "value",
                "FILE[:continue]",
                "FILE",
                "freeze the guest to FILE once it has nothing to do, or asks for it, and end; with `:continue`, "
                "let it go on",
            ),
            (
                "--gdb",
                "value",
                "PATH | HOST:PORT | -",
                "FILE",
                "let GDB connect (`target remote`) at a Unix socket or a TCP port; with `-`, at a socket that is "
                "printed, and stop before the first instruction",
            ),
            (
                "--crash",
                "value",
                "DIR",
                "DIRECTORY",
                "keep a report and a core file for GDB in this directory if the guest crashes; see `crash`",
            ),
            (
                "--watchdog",
                "value",
                "SECONDS",
                "",
                "take a guest for crashed of which a vCPU has run for so long without a pause or an exit",
            ),
            (
                "--name",
                "value",
                "NAME",
                "",
                "a name by which `pyvmm ps`, `stop`, `freeze` and others know the guest (IMAGE-PID)",
            ),
            (
                "--detach",
                "flag",
                "",
                "",
                "print the guest's name once it runs, and leave it in the background; see `logs` and `attach`",
            ),
            (
                "--metrics",
                "value",
                "[ADDR:]PORT | unix:PATH",
                "unix:",
                "serve what is counted of the guest over HTTP, for Prometheus",
            ),
            (
                "--ready-fd",
                "value",
                "N",
                "",
                "write a newline to this descriptor once the guest is ready, and close it",
            ),
            (
                "--json-events",
                "value",
                "N",
                "",
                "write a line of JSON to this descriptor when the guest has started (with its ports), is ready, and "
                "ends",
            ),
            ("-v", "flag", "", "", "say more on stderr"),
            ("--log-format", "value", "FORMAT", "text json", "how pyvmm's own messages are written: `text` or `json`"),
            (
                "--sandbox",
                "value",
                "off | on | require",
                "off on require",
                "confine pyvmm to what this guest needs: `on` as far as the host can, `require` in full (on)",
            ),
            (
                "--user",
                "value",
                "UID[-UID][:GID]",
                "",
                "who a confined guest of root's runs as; of a range, one of them (65534)",
            ),
            (
                "--cgroup",
                "value",
                "DIR",
                "DIRECTORY",
                "run in this control group, whose limits of memory, CPU time and threads are the guest's, too",
            ),
            ("--no-cache", "flag", "", "", "neither use the boot cache nor add to it"),
        ),
    ),
    "build": (
        "SOURCE",
        "*.pas *.pp *.c *.o *.a",
        "compile a Toro application to an ELF image",
        "The source is a program in Pascal, or one in C. Units that lie elsewhere may follow it, or C files, objects "
        "and archives. Its image has the Toro kernel, the library and the application, without what is not used. "
        "What follows `--` goes to the compiler, such as `-- -Mdelphi -Cr`.",
        (
            ("-o", "value", "FILE", "FILE", "where the image goes (SOURCE with .elf)"),
            ("-d", "repeatable", "SYMBOL", "", "define a symbol for the compiler, in the kernel as well"),
            ("-I", "repeatable", "DIR", "DIR", "look for units and include files there too"),
            ("-g", "flag", "", "", "add all debug information, for GDB, and do not optimize"),
        ),
    ),
    "cc": (
        "FILE",
        "*.c *.o *.a",
        "compile C for Toro, as `mpicc` does for Linux",
        "Takes what gcc takes; without `-c`, `-S` or `-E` it links an image, `a.out` or what `-o` names. A Makefile "
        "uses it by `make CC='pyvmm cc'`, and configure also wants `--host=x86_64-elf`.",
        (),
    ),
    "ps": (
        "[NAME]",
        "",
        "list the guests that run",
        "Lists your guests, or one of them, with the host's ports that lead to theirs. One without a name of its own "
        "is listed once it has run for a tenth of a second.",
        (_JSON,),
    ),
    "stop": (
        "NAME",
        "",
        "end a guest",
        "Asks the guest to end, waits, and then ends it.",
        (("--time", "value", "SECONDS", "", "how long to wait (10); 0 does not ask"),),
    ),
    "pause": ("NAME", "", "pause a guest", "Its vCPUs do nothing until `resume`; time goes on.", ()),
    "resume": ("NAME", "", "let a paused guest go on", "The guest finds that time has passed.", ()),
    "logs": (
        "NAME",
        "",
        "print what a detached guest has printed",
        "Its log is kept when it has ended, in $XDG_STATE_HOME/pyvmm (~/.local/state/pyvmm): the last one to two MiB, "
        "with pyvmm's messages.",
        (),
    ),
    "attach": (
        "NAME",
        "",
        "connect to the console of a detached guest",
        "Shows what it prints from now on, and types for it. Ctrl-] leaves.",
        (),
    ),
    "inspect": ("NAME", "", "tell all about a guest", "What `ps` lists, its vCPUs, and its connections.", (_JSON,)),
    "ping": (
        "[NAME]",
        "",
        "find out whether a guest runs",
        "Of the only guest, if no NAME is given: for health checks in containers. The exit status is 0 if it runs, 1 "
        "if it is paused, and 125 if it has ended or its process does not answer within 5 s.",
        (),
    ),
    "wait": ("NAME", "", "wait until a guest has ended", "The exit status is the guest's.", ()),
    "freeze": (
        "NAME",
        "",
        "freeze a guest that runs",
        "Writes the guest, as it is now, to the file. `pyvmm boot FILE` lets "
        "it go on from there, any number of times, with the same kinds of devices.",
        (
            ("-o", "value", "FILE", "FILE", "where it goes (NAME.frozen)"),
            ("--end", "flag", "", "", "end the guest then"),
        ),
    ),
    "net": (
        "ACTION",
        "create ls rm add",
        "manage networks, in which guests have addresses of their own",
        "`create NETWORK --subnet SUBNET` makes a network, and `rm NETWORK` removes it. `add NETWORK GUEST [IP]` makes "
        "a network namespace for `boot --netns GUEST`, and `rm NETWORK GUEST` removes it. It takes root, or a user "
        "namespace.",
        (
            ("--subnet", "repeatable", "SUBNET", "", "of `create`: `10.77.0.0/24`, and `fd77::/64` for IPv6"),
            _JSON,
        ),
    ),
    "cache": (
        "ACTION",
        "ls clear",
        "list or clear the boot cache",
        "The boot cache keeps the state in which a guest starts, so that the same `pyvmm boot` starts it without "
        "Python from then on. It is in $XDG_CACHE_HOME/pyvmm/boot (~/.cache/pyvmm/boot).",
        (),
    ),
    "image": (
        "build SOURCE",
        "*.pas *.pp *.c *.elf",
        "make a container image",
        "Makes a container image that has nothing but a guest: a program, which is built, or an ELF image. It is a tar "
        "archive that `podman load`, `docker load` and `ctr image import` take. The OCI runtime `pyvmm-oci` boots it.",
        (
            ("-t", "value", "NAME", "", "the image's name, such as `web` or `web:2` (SOURCE's)"),
            ("-o", "value", "FILE", "FILE", "where the archive goes (SOURCE with .tar)"),
            ("--settings", "value", "FILE", "FILE", "how it is to be booted, as JSON: `/pyvmm.json` of the image"),
        ),
    ),
    "oci": (
        "BUNDLE",
        "DIRECTORY",
        "make a guest of an OCI bundle's container",
        "What the OCI runtime `pyvmm-oci` does before the real one sees the bundle: if the container's entrypoint is a "
        "Toro image, its config.json becomes that of a container which boots it. Another is left alone.",
        (
            ("--log", "value", "FILE", "FILE", "where an error is written as well, as a line of JSON"),
            ("--pass-kvm", "flag", "", "", "the container gets /dev/kvm as an open descriptor, not by its name"),
        ),
    ),
    "crash": (
        "FILE",
        "FILE",
        "print a crash report again",
        "FILE is the directory of `boot --crash`, or the `report.json` or `core` in it. The report has what has "
        "happened, where in which source, registers and callers of each vCPU, and what to do next. "
        "`gdb IMAGE DIR/core` shows more.",
        (_JSON,),
    ),
    "doctor": (
        "",
        "",
        "tell whether guests boot on this host, and what is missing",
        "Boots a guest of a few instructions, and looks at KVM, programs, memory, limits, what can confine pyvmm, and "
        "the CPU's vulnerabilities. Each line begins with `ok`, with `note` for what is slow, missing or unsafe, or "
        "with `fault` for what keeps guests from booting, and says what to do. The exit status is 0 if guests boot, "
        "else 1.",
        (_JSON,),
    ),
    "fuzz": (
        "TARGET",
        "console vsock fs= vhost-user= virtiofsd= *.py",
        "test a virtio device with hostile drivers",
        "TARGET is `console`, `vsock` or `fs=DIR`, which are pyvmm's own; a class of yours, `MODULE:CLASS` or "
        "`FILE.py:CLASS`; or a vhost-user backend, `vhost-user=SOCKET` or `virtiofsd=DIR`. What breaks the device is "
        "made as short as possible and saved twice, as a Python program and as an ELF image that does it again to "
        "the device of any VMM. Files in DIR may be changed. The exit status is 1 if something was found, 0 if not.",
        (
            ("--time", "value", "SECONDS", "", "how long to look (60)"),
            ("--seed", "value", "N", "", "where random cases begin, to have the same again"),
            ("-o", "value", "DIR", "DIRECTORY", "where findings are saved (the current directory)"),
        ),
    ),
    "bench": (
        "NAME",
        "boot exits vsock fs http kernel mpi density podman",
        "run a benchmark",
        "Each has options of its own: `pyvmm bench NAME --help`.",
        (),
    ),
}

#: What other programs call an option of ours.
_MEANT = {
    "--daemon": "--detach",
    "-d": "--detach",
    "--background": "--detach",
    "-m": "--mem",
    "-c": "--cpus",
    "--smp": "--cpus",
    "--volume": "--share",
    "--cmdline": "--append",
}


def words_of(values: str) -> list[str]:
    """The words that a value or an operand may be; none if it may be anything, or a file."""
    return [] if values in ("FILE", "DIRECTORY") or "*" in values else values.split()


def parse(
    command: str, words: list[str], others: tuple[Option, ...] = ()
) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """Splits a command line into operands and options.

    Args:
        command: the command's name.
        words: what follows it.
        others: options that it has besides those of the table.

    Returns:
        The operands; the value of each option that was given, by name, empty where it has none;
        and the values of each repeatable option.

    Raises:
        UsageError: an option is unknown, given twice, or lacks its value.
    """
    operands: list[str] = []
    given: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    takes: dict[str, str] = {}
    for name, kind, *_ in (*COMMANDS[command][4], *others):
        takes[name] = kind
        if kind == "repeatable":
            repeated[name] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--":
            operands += rest
        elif word[:1] != "-" or word == "-":
            operands.append(word)
        elif name not in takes:
            if word[:2] in takes and word[1] != "-":
                raise UsageError(f"{word}: write {word[:2]} {word[2:]}")
            raise UsageError(f"{name}: no such option{suggestion(name, takes, f'{command} --help')}")
        elif name in given:
            raise UsageError(f"{name}: given twice")
        elif takes[name] == "flag":
            given[name] = ""
            if equals:
                raise UsageError(f"{word}: {name} takes no value")
        elif takes[name] == "optional":
            given[name] = value
            if equals and not value:
                raise UsageError(f"{word}: needs a value after the =")
        else:
            following = value if equals else next(rest, None)
            if following is None:
                raise UsageError(f"{name}: needs a value")
            if name in repeated:
                repeated[name].append(following)
            else:
                given[name] = following
    return operands, given, repeated


def only_operand(command: str, operands: list[str]) -> str:
    """The one operand of a command.

    Raises:
        UsageError: there is none, or more than one.
    """
    what = COMMANDS[command][0].strip("[]")
    if not operands:
        raise UsageError(f"{what} is missing; try `pyvmm {command} --help`")
    if len(operands) > 1:
        raise UsageError(f"{operands[1]}: one {what} at a time")
    return operands[0]


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message about an unknown word: the known one that was meant, or what to try."""
    from difflib import get_close_matches

    names = [*known]
    close = [meant] if (meant := _MEANT.get(word)) in names else get_close_matches(word, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; try `pyvmm {otherwise}`"


def number(name: str, text: str) -> int:
    """The value of an option that is a decimal number.

    Raises:
        UsageError: it is something else.
    """
    from pyvmm.config import parse_decimal

    try:
        return parse_decimal(text)
    except ValueError:
        raise UsageError(f"{name} {text}: not a number") from None
