"""A container's config.json, changed so that the container runs `pyvmm boot`.

Namespaces, cgroups, hooks, seccomp, users and all else stay the engine's.
"""

from __future__ import annotations

import posix as os

from pyvmm.config import parse_size
from pyvmm.layout import MEMORY_MAX, MEMORY_MIN, MIB
from pyvmm.oci import parts
from pyvmm.oci.bundle import BundleError, member, part, texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyvmm.oci.bundle import Bundle, Mount
    from pyvmm.oci.guest import Guest, Settings

#: What a container's memory limit has to hold besides the guest's memory, in bytes: pyvmm, and each virtiofsd.
VMM_BYTES, SHARE_BYTES = 32 * MIB, 16 * MIB
_REGISTRY_BYTES = 1 << 20
_PERIOD = 100_000  # us, of cpu.cfs_period_us where none is given
#: Below these, engines mount things of their own.
_ENGINE_FOLDERS = ("/dev", "/proc", "/sys", "/run", "/var/run")
#: What engines and shells set for Linux programs.
_ENGINE_VARIABLES = ("PATH", "HOME", "HOSTNAME", "TERM", "container")
_KEPT_VARIABLES = ("PATH", "TERM", "TZ")
#: What virtiofsd makes the shared directory its root by, and gives up the rest by.
_SHARING = ("CAP_SYS_CHROOT", "CAP_SETPCAP")
_KVM_FD = 3  # as in oci.c
_ALLOW = "SCMP_ACT_ALLOW"
_CLONE_FS = 0x200
#: The calls by which it does so, and gives each of its threads a directory of its own.
_SHARING_CALLS: tuple[tuple[str, list[dict[str, Any]]], ...] = (
    ("chroot", []),
    ("unshare", [{"index": 0, "value": _CLONE_FS, "op": "SCMP_CMP_EQ"}]),
)


def machine_words(bundle: Bundle, guest: Guest) -> list[str]:
    """The options of `pyvmm boot` that say what a guest's machine is, its devices apart.

    Raises:
        BundleError: the container's limits leave no room for it.
    """
    resources = member(member(bundle.config, "linux", dict), "resources", dict)
    words = _memory_words(guest.settings, resources, len(shares(bundle, guest)))
    words += ["--cpus", _cpu_count(guest.settings, resources)]
    for name in ("boot", "initrd"):
        for value in guest.settings.get(name, []):
            words += [f"--{name}", value]
    text = command_line(guest)
    return [*words, "--append", text] if text else words


def device_words(bundle: Bundle, guest: Guest) -> list[str]:
    """The options of `pyvmm boot` for its devices, and for where its CPUs are."""
    settings = guest.settings
    words = _pin_words(settings, member(member(bundle.config, "linux", dict), "resources", dict))
    for value in settings.get("console", []):
        words += ["--console", value]
    if guest.has_sockets:
        words += ["--vsock", "3"]
        for value in settings.get("vsock-backlog", []):
            words += ["--vsock-backlog", value]
        for port in settings.get("ports", ["*"]):
            words += ["-p", f"0.0.0.0:{_published(port)}"]
        for allowed in settings.get("allow", []):
            words += ["--allow", allowed]
    for share in shares(bundle, guest):
        words += ["--share", share]
    return words


def shares(bundle: Bundle, guest: Guest) -> list[str]:
    """Its directories (`--share`): as they are set, or the container's volumes."""
    return guest.settings.get("share") or volumes(bundle)


def rewrite(bundle: Bundle, guest: Guest, words: list[str], state: str = "") -> None:
    """Changes the configuration of a bundle (OCI runtime specification, config.md and config-linux.md).

    Args:
        bundle, guest: it, and what was found in it.
        words: what follows `pyvmm boot`.
        state: path of the State that these words want at `parts.STATE`, if they do.

    Raises:
        PyvmmError: the host lacks something.
    """
    config = bundle.config
    process = part(config, "process", dict)
    process["args"] = [parts.PROGRAM, "boot", *words]
    process["env"] = [text for text in guest.environment if text.partition("=")[0] in _KEPT_VARIABLES]
    mounts = parts.program_mounts()
    if state:
        mounts.append(parts.read_only(state, parts.STATE))
    if "--share" in words:
        mounts.append(parts.share_mount())
        _let_share(config)
    _add_mounts(config, mounts)
    _add_registry(config, member(member(process, "user", dict), "uid", int))
    _add_kvm(config)


def pass_kvm(bundle: Bundle) -> None:
    """Tells the container's pyvmm, by its environment, that it has /dev/kvm as an open descriptor (oci.c)."""
    part(part(bundle.config, "process", dict), "env", list).append(f"PYVMM_KVM_FD={_KVM_FD}")


def volumes(bundle: Bundle) -> list[str]:
    """The shares (`--share`) for a container's volumes: those of its bind mounts that are directories."""
    found = []
    for mount in bundle.binds():
        place = mount.destination
        if any(f"{place}/".startswith(f"{folder}/") for folder in _ENGINE_FOLDERS) or not place:
            continue
        try:
            is_folder = os.stat(mount.source).st_mode & 0o170000 == 0o040000
        except (OSError, ValueError):
            is_folder = False
        if is_folder:
            found.append(f"{place}:{place.strip('/').replace('/', '-')}")
    return found


def command_line(guest: Guest) -> str:
    """The guest's command line: the arguments, then variables of the environment as `NAME=VALUE`."""
    wanted = guest.settings.get("env")
    variables = []
    for text in guest.environment:
        name = text.partition("=")[0]
        if name in wanted if wanted is not None else name not in _ENGINE_VARIABLES:
            variables.append(text)
    return " ".join(map(quoted, [*guest.arguments, *variables]))


def quoted(word: str) -> str:
    """A word of a command line, as Toro parts it (docs/pascal.md): within quotes, if it has to be."""
    if word and not any(special in word for special in " '\""):
        return word
    return '"' + word.replace('"', '"\'"\'"') + '"'


def _memory_words(settings: Settings, resources: dict[str, Any], shares: int) -> list[str]:
    """`--mem`: as it is set, or all that a memory limit leaves."""
    limit, needed = member(member(resources, "memory", dict), "limit", int), VMM_BYTES + shares * SHARE_BYTES
    asked = settings.get("mem", [])
    if limit <= 0:
        return [word for value in asked for word in ("--mem", value)]
    room = min(limit - needed, MEMORY_MAX) // MIB * MIB
    if room < MEMORY_MIN:
        least = (MEMORY_MIN + needed) // MIB
        raise BundleError(
            f"the container's memory limit, {limit >> 20}M, is too small for a guest; {least}M is the least"
        )
    try:
        wanted = parse_size(asked[0]) if asked else room
    except ValueError:
        return ["--mem", asked[0]]  # pyvmm boot will complain
    if wanted > room:
        raise BundleError(
            f"mem {asked[0]}: over {room >> 20}M, which the container's memory limit of {limit >> 20}M leaves; raise it"
        )
    return ["--mem", str(wanted)]


def _cpu_count(settings: Settings, resources: dict[str, Any]) -> str:
    """The number of CPUs: as it is set, or as many as the container may use."""
    if "cpus" in settings:
        return settings["cpus"][0]
    cpu = member(resources, "cpu", dict)
    quota, period = member(cpu, "quota", int), member(cpu, "period", int)
    allowed = len(_cpus_of(member(cpu, "cpus", str)))
    count = -(-quota // (period or _PERIOD)) if quota > 0 else allowed
    return str(min(count, allowed or count) or 1)


def _pin_words(settings: Settings, resources: dict[str, Any]) -> list[str]:
    """`--pin`: as it is set, or each CPU to one of the container's, if these are as many."""
    if "pin" in settings:
        return ["--pin", settings["pin"][0]]
    cpuset = member(member(resources, "cpu", dict), "cpus", str)
    allowed = len(_cpus_of(cpuset))
    return ["--pin", cpuset] if allowed and _cpu_count(settings, resources) == str(allowed) else []


def _cpus_of(cpuset: str) -> list[int]:
    """The CPUs of a list such as `0,2-3`; none of one that is none."""
    found: list[int] = []
    for text in cpuset.split(",") if cpuset else []:
        first, dash, last = text.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(text) > 11:
            return []
        found += range(int(first), min(int(last or first), int(first) + 1024) + 1)
    return found


def _published(port: str) -> str:
    """`HOSTPORT:GUESTPORT` or `*` of a setting, which may be a port alone."""
    return port if ":" in port or port == "*" else f"{port}:{port}"


def _let_share(config: dict[str, Any]) -> None:
    """Lets virtiofsd do what it needs to share a directory, also where the engine lets nobody."""
    capabilities = part(part(config, "process", dict), "capabilities", dict)
    for kind in ("bounding", "effective", "permitted"):
        capabilities[kind] = list(dict.fromkeys([*texts(capabilities, kind), *_SHARING]))
    seccomp = member(member(config, "linux", dict), "seccomp", dict)
    rules = member(seccomp, "syscalls", list)
    if not rules:
        return
    for call, arguments in _SHARING_CALLS:
        if not any(call in texts(rule, "names") and member(rule, "action", str) == _ALLOW for rule in rules):
            for rule in rules:
                rule["names"] = [name for name in texts(rule, "names") if name != call]
            rules = [rule for rule in rules if rule["names"]]
            rules.append({"names": [call], "action": _ALLOW, "args": arguments})
    seccomp["syscalls"] = rules


def _add_mounts(config: dict[str, Any], mounts: list[Mount]) -> None:
    part(config, "mounts", list).extend(
        {"destination": mount.destination, "source": mount.source, "type": "bind", "options": mount.options}
        for mount in mounts
    )


def _add_registry(config: dict[str, Any], user: int) -> None:
    """Gives pyvmm, and those that are executed beside it, a place for the registry; an image has none."""
    options = ["nosuid", "nodev", "noexec", "mode=0700", f"uid={user}", f"size={_REGISTRY_BYTES}"]
    place = {"destination": f"/tmp/pyvmm-{user}", "source": "tmpfs", "type": "tmpfs", "options": options}
    part(config, "mounts", list).append(place)


def _add_kvm(config: dict[str, Any]) -> None:
    """Makes /dev/kvm in the container, unless the engine does, and lets its cgroup use it."""
    major, minor = parts.kvm_device()
    linux = part(config, "linux", dict)
    devices = part(linux, "devices", list)
    if not any(member(device, "path", str) == parts.KVM for device in devices):
        devices.append({"path": parts.KVM, "type": "c", "major": major, "minor": minor, "fileMode": 0o666})
    part(part(linux, "resources", dict), "devices", list).append(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rw"}
    )
