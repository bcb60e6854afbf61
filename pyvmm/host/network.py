"""Networks of guests: a bridge for each, and for each guest a pair of interfaces (veth(4)) and addresses.

All that there is of them is in the kernel: the aliases of interfaces say what they are for. So
nothing can become stale. pyroute2 takes long to import; only `pyvmm net` and `boot --net` do that.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from itertools import islice
from time import monotonic, sleep
from typing import TYPE_CHECKING

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from pyvmm.errors import ConfigError, HostError
from pyvmm.host.netns import HINT, enter, enter_new, folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Interface = IPv4Interface | IPv6Interface

_ALIAS = "pyvmm"
_NAME_MAX = 15  # IFNAMSIZ without its NUL
_NODAD = 0x02  # IFA_F_NODAD: an address works at once
_EPERM, _EEXIST = 1, 17
_PATIENCE = 10.0  # seconds


class Network:
    """A network as it is now.

    Attributes:
        name: of the network, and of its bridge.
        addresses: of the bridge.
        guests: by name: their addresses.
    """

    def __init__(self, name: str, index: int, addresses: list[Interface], guests: dict[str, list[Interface]]) -> None:
        self.name, self.index, self.addresses, self.guests = name, index, addresses, guests

    def free(self, wanted: str = "") -> list[Interface]:
        """An address of each of the network's subnets for another guest.

        Args:
            wanted: one that it is to have.

        Raises:
            ConfigError: it is not in the network, or taken; or there is none left.
        """
        taken = {each.ip for each in [*self.addresses, *(one for own in self.guests.values() for one in own)]}
        try:
            asked = ip_address(wanted) if wanted else None
        except ValueError:
            raise ConfigError("net", wanted, "not an IP address") from None
        if asked in taken:
            raise ConfigError("net", wanted, "another guest, or the host, has this address")
        found: list[Interface] = []
        for own in self.addresses:
            if asked and asked in own.network:
                found.append(ip_interface(f"{asked}/{own.network.prefixlen}"))
                continue
            free = next((host for host in own.network.hosts() if host not in taken), None)
            if free is None:
                raise ConfigError("net", self.name, f"no address of {own.network} is left")
            found.append(ip_interface(f"{free}/{own.network.prefixlen}"))
        if asked and asked not in {each.ip for each in found}:
            raise ConfigError("net", wanted, f"not an address of network {self.name}")
        return found


@contextmanager
def _route(what: str) -> Iterator[Any]:
    """rtnetlink in this thread's namespace; its errors become ours."""
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        hint = HINT if error.code == _EPERM else "there is an interface of this name" if error.code == _EEXIST else ""
        raise HostError(what, error.code, hint) from None
    except OSError as error:
        raise HostError(what, error.errno or 0) from None


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time gives out addresses in a network namespace."""
    end = monotonic() + _PATIENCE
    with socket.socket(socket.AF_UNIX) as lock:
        while True:
            try:
                lock.bind("\0pyvmm-net")
                break
            except OSError as error:
                if monotonic() > end:
                    raise HostError("networks", error.errno or 0, "another pyvmm is changing them") from None
                sleep(0.01)
        yield


def create(name: str, subnets: list[str]) -> None:
    """Makes a network; the host has its first address.

    Raises:
        ConfigError: the name or a subnet is none, or two overlap.
        HostError: it cannot be made.
    """
    if not 0 < len(name) <= _NAME_MAX or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("net", name, f"not 1 to {_NAME_MAX} letters, digits, - and _")
    if not subnets:
        raise ConfigError("subnet", "", "which? such as 10.77.0.0/24, and fd77::/64 for IPv6")
    addresses: list[Interface] = []
    for text in subnets:
        try:
            network = ip_network(text)
        except ValueError:
            raise ConfigError("subnet", text, "not a subnet such as 10.77.0.0/24") from None
        host, *guest = islice(network.hosts(), 2)
        if not guest:
            raise ConfigError("subnet", text, "has no address for a guest; write 10.77.0.0/24, for example")
        addresses.append(ip_interface(f"{host}/{network.prefixlen}"))
    if len({each.version for each in addresses}) < len(addresses):
        raise ConfigError("subnet", subnets[-1], "one of IPv4 and one of IPv6 at most")
    with _alone(), _route(f"network {name}") as route:
        route.link("add", ifname=name, kind="bridge")
        try:
            index = route.link_lookup(ifname=name)[0]
            route.link("set", index=index, state="up", ifalias=_ALIAS)
            _add_addresses(route, index, addresses)
        except BaseException:
            route.link("del", ifname=name)
            raise


def networks() -> list[Network]:
    """All networks of this network namespace.

    Raises:
        HostError: the kernel does not tell.
    """
    with _route("networks") as route:
        return _networks(route)


def _networks(route: Any) -> list[Network]:
    links = [(link, str(link.get_attr("IFLA_IFALIAS") or "")) for link in route.get_links()]
    found = []
    for link, alias in links:
        if alias != _ALIAS:
            continue
        index = link["index"]
        guests = {}
        for port, text in links:
            words = text.split()
            if port.get_attr("IFLA_MASTER") == index and words[:1] == [_ALIAS] and len(words) > 1:
                guests[words[1]] = [ip_interface(word) for word in words[2:]]
        addresses = [
            ip_interface(f"{each.get_attr('IFA_ADDRESS')}/{each['prefixlen']}")
            for each in route.get_addr(index=index)
            if each["scope"] == 0
        ]
        found.append(Network(str(link.get_attr("IFLA_IFNAME")), index, addresses, guests))
    return found


def _find(route: Any, name: str) -> Network:
    for network in _networks(route):
        if network.name == name:
            return network
    raise ConfigError("net", name, "there is no such network; `pyvmm net create` makes one")


def remove(name: str, guest: str = "") -> None:
    """Removes a network with the namespaces of its guests, or those of one guest.

    Raises:
        ConfigError: there is no such network or guest.
        HostError: it cannot be removed.
    """
    with _alone(), _route(f"network {name}") as route:
        network = _find(route, name)
        if guest and guest not in network.guests:
            raise ConfigError("net", guest, f"no guest of network {name} has this name")
        for each in [guest] if guest else network.guests:
            route.link("del", ifname=_interface(name, each))
            _remove_namespace(each)
        if not guest:
            route.link("del", index=network.index)


def add(name: str, guest: str, wanted: str = "") -> tuple[str, list[Interface]]:
    """Makes a network namespace for a guest of a network, and moves this thread there.

    Returns:
        Its path, and the guest's addresses.

    Raises:
        ConfigError: there is no such network; or the guest's name, or address, is taken.
        HostError: it cannot be made.
    """
    folder = next((each for each in folders() if os.access(os.path.dirname(each), os.W_OK)), folders()[-1])
    path = f"{folder}/{guest}"
    if not guest.isascii() or not guest.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("net", guest, "not letters, digits, - and _")
    if os.path.exists(path):
        raise ConfigError("net", guest, f"there is {path} already")
    with _alone(), _route(f"network {name}") as route:
        network = _find(route, name)
        addresses = network.free(wanted)
        try:
            netns.create(path)
        except OSError as error:
            raise HostError(path, error.errno or 0, HINT if error.errno == _EPERM else "") from None
        try:
            enter(path)
            _connect(route, network, guest, addresses)
        except BaseException:
            _remove_namespace(guest)
            raise
    return path, addresses


def join(name: str, guest: str, wanted: str = "") -> list[Interface]:
    """Moves this thread to a namespace of its own in a network; it ends with the process, however that ends.

    Returns:
        The guest's addresses.

    Raises:
        ConfigError, HostError: as for `add`.
    """
    with _alone(), _route(f"network {name}") as route:
        network = _find(route, name)
        addresses = network.free(wanted)
        enter_new()
        _connect(route, network, guest, addresses)
    return addresses


def _connect(route: Any, network: Network, guest: str, addresses: list[Interface]) -> None:
    """Connects this thread's namespace with a network of the one that `route` is of."""
    outside = _interface(network.name, guest)
    with open("/proc/thread-self/ns/net") as here:
        route.link("add", ifname=outside, kind="veth", peer={"ifname": "eth0", "net_ns_fd": here.fileno()})
    alias = " ".join([_ALIAS, guest, *map(str, addresses)])
    index = route.link_lookup(ifname=outside)[0]
    route.link("set", index=index, master=network.index, state="up", ifalias=alias)
    with IPRoute() as inside:
        inside.link("set", index=inside.link_lookup(ifname="lo")[0], state="up")
        index = inside.link_lookup(ifname="eth0")[0]
        inside.link("set", index=index, state="up")
        _add_addresses(inside, index, addresses)
        for gateway in network.addresses:
            inside.route("add", dst="default", gateway=str(gateway.ip), family=_family(gateway))


def _add_addresses(route: Any, index: int, addresses: list[Interface]) -> None:
    for each in addresses:
        flags = {"flags": _NODAD} if each.version == 6 else {}
        route.addr("add", index=index, address=str(each.ip), prefixlen=each.network.prefixlen, **flags)


def _family(address: Interface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _interface(network: str, guest: str) -> str:
    """The name of a guest's interface on the host."""
    return f"pv-{sha256(f'{network} {guest}'.encode()).hexdigest()[: _NAME_MAX - 3]}"


def _remove_namespace(guest: str) -> None:
    """Removes a guest's namespace, if it has one with a name."""
    for folder in folders():
        if os.path.exists(f"{folder}/{guest}"):
            netns.remove(f"{folder}/{guest}")
