"""`pyvmm net`: networks, in which each guest has an address of its own."""

from __future__ import annotations

import json

from pyvmm.command.options import parse, suggestion
from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.host.network import Network

#: Of each action: how many operands it takes at least and at most, and which.
_ACTIONS = {
    "create": (1, 1, "NETWORK"),
    "ls": (0, 0, ""),
    "rm": (1, 2, "NETWORK [GUEST]"),
    "add": (2, 3, "NETWORK GUEST [IP]"),
}


def net(words: list[str]) -> str:
    """Does what the words say; returns what to print.

    Raises:
        PyvmmError: it cannot.
    """
    operands, options, repeated = parse("net", words)
    if not operands:
        raise UsageError("ACTION is missing; try `pyvmm net --help`")
    action, *rest = operands
    if action not in _ACTIONS:
        raise UsageError(f"{action}: not {', '.join(_ACTIONS)}{suggestion(action, _ACTIONS, 'net --help')}")
    least, most, takes = _ACTIONS[action]
    if not least <= len(rest) <= most:
        raise UsageError(f"net {action} takes {takes or 'nothing more'}")
    if repeated["--subnet"] and action != "create":
        raise UsageError(f"--subnet: of `net create` only, not of `net {action}`")
    from pyvmm.host import network

    if action == "create":
        network.create(rest[0], repeated["--subnet"])
    elif action == "rm":
        network.remove(*rest)
    elif action == "add":
        path, addresses = network.add(*rest)
        return f"{path} {' '.join(str(each.ip) for each in addresses)}\n"
    else:
        found = network.networks()
        return _json(found) if "--json" in options else "".join(map(_lines, found))
    return ""


def _json(found: list[Network]) -> str:
    described = [
        {
            "name": each.name,
            "addresses": list(map(str, each.addresses)),
            "guests": {guest: list(map(str, addresses)) for guest, addresses in each.guests.items()},
        }
        for each in found
    ]
    return json.dumps(described, indent=2) + "\n"


def _lines(network: Network) -> str:
    lines = [f"{network.name}  {' '.join(map(str, network.addresses))}\n"]
    lines += (f"  {guest}  {' '.join(str(each.ip) for each in own)}\n" for guest, own in network.guests.items())
    return "".join(lines)


def enter(options: dict[str, str], guest: str) -> str:
    """Moves this thread to the namespace that `boot --net` or `--netns` asks for; returns its description.

    Raises:
        PyvmmError: it cannot be entered.
    """
    if "--netns" in options:
        if "--net" in options:
            raise UsageError("--net: makes a namespace itself; --netns names one")
        from pyvmm.host.netns import enter as enter_namespace

        enter_namespace(options["--netns"])
        return options["--netns"]
    from pyvmm.host.network import join

    network, _, address = options["--net"].partition(":")
    return " ".join([network, *(str(each.ip) for each in join(network, guest, address.strip("[]")))])
