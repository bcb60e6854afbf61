"""What a guest's config.json becomes."""

from __future__ import annotations

import json
import re
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import JSON, TORO, write_bundle
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.errors import HostError, PyvmmError
from pyvmm.layout import MIB
from pyvmm.oci import parts
from pyvmm.oci.bundle import Bundle, BundleError, Mount
from pyvmm.oci.guest import find
from pyvmm.oci.rewrite import SHARE_BYTES, VMM_BYTES, device_words, machine_words, quoted, rewrite

Make = Callable[..., Bundle]


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with all that a guest needs."""
    monkeypatch.setattr(parts, "program_mounts", lambda: [Mount("/opt/pyvmm", "/usr/local", ["ro"])])
    monkeypatch.setattr(parts, "share_mount", lambda: Mount("/virtiofsd", "/virtiofsd", ["ro"]))
    monkeypatch.setattr(parts, "kvm_device", lambda: (10, 232))


def rewritten(bundle: Bundle) -> dict[str, Any]:
    guest = find(bundle)
    assert guest
    rewrite(bundle, guest, [guest.image, *machine_words(bundle, guest), *device_words(bundle, guest)])
    return bundle.config


def options(bundle: Bundle) -> dict[str, list[str]]:
    """The values of each option that the guest is booted with."""
    words = rewritten(bundle)["process"]["args"]
    assert words[:3] == ["/opt/pyvmm/bin/pyvmm", "boot", "/guest"]
    found: dict[str, list[str]] = {}
    for name, value in zip(words[3::2], words[4::2], strict=True):
        found.setdefault(name, []).append(value)
    return found


def limited(**resources: Any) -> dict[str, Any]:
    return {"linux": {"resources": resources}}


def test_a_plain_container(make_bundle: Make) -> None:
    assert options(make_bundle()) == {"--cpus": ["1"]}


def test_a_program_with_sockets_has_all_its_ports_published(make_bundle: Make, tmp_path: Path) -> None:
    bundle = make_bundle()
    (tmp_path / "rootfs/guest").write_bytes(TORO + b"virtiovsocket\0")
    assert options(bundle) == {"--cpus": ["1"], "--vsock": ["3"], "-p": ["0.0.0.0:*"]}


def test_a_state_is_mounted_where_the_words_want_it(make_bundle: Make) -> None:
    bundle = make_bundle()
    guest = find(bundle)
    assert guest
    rewrite(bundle, guest, ["/opt/pyvmm/guest"], "/bundle/state")
    mount = bundle.config["mounts"][-2]
    assert (mount["destination"], mount["source"]) == ("/opt/pyvmm/guest", "/bundle/state")
    assert "ro" in mount["options"]


def test_its_user_has_a_registry(make_bundle: Make) -> None:
    config = rewritten(make_bundle(process={"args": ["/guest"], "cwd": "/", "user": {"uid": 5}}))
    registry = config["mounts"][-1]
    assert (registry["type"], registry["destination"]) == ("tmpfs", "/tmp/pyvmm-5")
    assert {"mode=0700", "uid=5", "noexec"} <= set(registry["options"])


def test_all_else_stays(make_bundle: Make) -> None:
    members = {"hooks": {"prestart": []}, "hostname": "h", "linux": {"namespaces": [{"type": "pid"}], "seccomp": {}}}
    config = rewritten(make_bundle(process={"args": ["/guest"], "cwd": "/", "user": {"uid": 5}}, **members))
    assert config["hooks"] == {"prestart": []}
    assert config["hostname"] == "h"
    assert config["process"]["user"] == {"uid": 5}
    assert config["process"]["cwd"] == "/"
    assert "capabilities" not in config["process"]
    assert config["linux"]["namespaces"] == [{"type": "pid"}]
    assert config["linux"]["seccomp"] == {}


def test_the_device_is_made_and_allowed_once(make_bundle: Make) -> None:
    linux = rewritten(make_bundle())["linux"]
    assert linux["devices"] == [{"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232, "fileMode": 0o666}]
    assert linux["resources"]["devices"] == [{"allow": True, "type": "c", "major": 10, "minor": 232, "access": "rw"}]
    of_engine = {"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232, "uid": 0}
    assert rewritten(make_bundle(linux={"devices": [of_engine]}))["linux"]["devices"] == [of_engine]


def test_arguments_and_environment_are_the_command_line(make_bundle: Make) -> None:
    engine = ["PATH=/bin", "HOME=/root", "HOSTNAME=x", "TERM=xterm", "container=podman"]
    process = {"args": ["/guest", "a,b", "c"], "env": [*engine, "MODE=fast", "LD_PRELOAD=/x.so"]}
    bundle = make_bundle(process=process)
    assert options(bundle)["--append"] == ["a,b c MODE=fast LD_PRELOAD=/x.so"]
    assert bundle.config["process"]["env"] == ["PATH=/bin", "TERM=xterm"]


def parted(line: str) -> list[str]:
    """A command line as Toro parts it (toro/rtl/arguments.pas)."""
    words, word, quote = [], None, ""
    for letter in line:
        if letter == " " and not quote:
            words += [word] if word is not None else []
            word = None
            continue
        word = word or ""
        if letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        else:
            word += letter
    return [*words, *([word] if word is not None else [])]


@given(st.lists(st.text(max_size=10) | st.text(" '\"a", max_size=10), max_size=5))
def test_any_words_are_parted_as_they_were_joined(words: list[str]) -> None:
    assert parted(" ".join(map(quoted, words))) == words


def test_words_are_quoted_where_they_have_to_be() -> None:
    words = ["a,b", "", "two words", "it's", 'say "hi"']
    assert [quoted(word) for word in words] == ["a,b", '""', '"two words"', '"it\'s"', '"say "\'"\'"hi"\'"\'""']


def test_a_setting_chooses_the_environment(make_bundle: Make) -> None:
    process = {"args": ["/guest"], "env": ["HOME=/root", "A=1", "B=2"]}
    chosen = make_bundle(process=process, annotations={"run.pyvmm.env": "HOME,B,C"})
    assert options(chosen)["--append"] == ["HOME=/root B=2"]
    assert "--append" not in options(make_bundle(process=process, annotations={"run.pyvmm.env": ""}))


def test_settings_become_options(make_bundle: Make, tmp_path: Path) -> None:
    values = {
        "mem": "64M",
        "cpus": "2",
        "pin": "0,1",
        "boot": "pvh",
        "initrd": "/i",
        "console": "virtio=file:/c",
        "vsock-backlog": "7",
        "allow": "all,80=db:5432",
        "ports": "80,8080:81",
        "share": "/a:A:ro,/b:B",
    }
    bundle = make_bundle(annotations={f"run.pyvmm.{name}": value for name, value in values.items()})
    (tmp_path / "rootfs/guest").write_bytes(TORO + b"virtiovsocket\0")
    assert options(bundle) == {
        "--vsock": ["3"],
        "--mem": ["64M"],
        "--cpus": ["2"],
        "--pin": ["0,1"],
        "--boot": ["pvh"],
        "--initrd": ["/i"],
        "--console": ["virtio=file:/c"],
        "--vsock-backlog": ["7"],
        "-p": ["0.0.0.0:80:80", "0.0.0.0:8080:81"],
        "--allow": ["all", "80=db:5432"],
        "--share": ["/a:A:ro", "/b:B"],
    }


# ---- resources ---------------------------------------------------------------------------


def test_memory_is_what_the_limit_leaves(make_bundle: Make) -> None:
    bundle = make_bundle(**limited(memory={"limit": 100 * MIB + 4097}))
    assert options(bundle)["--mem"] == [str(100 * MIB - VMM_BYTES)]
    for absent in (-1, 0, None, "1G"):
        assert "--mem" not in options(make_bundle(**limited(memory={"limit": absent})))


def test_each_share_has_its_part_of_the_limit(make_bundle: Make) -> None:
    bundle = make_bundle(annotations={"run.pyvmm.share": "/a:A,/b:B"}, **limited(memory={"limit": 128 * MIB}))
    assert options(bundle)["--mem"] == [str(128 * MIB - VMM_BYTES - 2 * SHARE_BYTES)]


def test_memory_that_is_set_is_never_over_the_limit(make_bundle: Make) -> None:
    annotations = {"run.pyvmm.mem": "96M"}
    bundle = make_bundle(annotations=annotations, **limited(memory={"limit": 96 * MIB + VMM_BYTES}))
    assert options(bundle)["--mem"] == [str(96 * MIB)]
    bundle = make_bundle(annotations=annotations, **limited(memory={"limit": 95 * MIB + VMM_BYTES}))
    with pytest.raises(BundleError, match=r"mem 96M: over 95M, which the container's memory limit of \d+M leaves"):
        rewritten(bundle)


def test_a_limit_without_room_for_a_guest_is_a_line(make_bundle: Make) -> None:
    with pytest.raises(BundleError, match="memory limit, 24M, is too small for a guest; 48M is the least"):
        rewritten(make_bundle(**limited(memory={"limit": 24 * MIB})))


@pytest.mark.parametrize(
    ("cpu", "cpus", "pin"),
    [
        ({"quota": 200_000, "period": 100_000}, "2", None),
        ({"quota": 50_000, "period": 100_000}, "1", None),
        ({"quota": 150_000, "period": 100_000}, "2", None),
        ({"quota": 300_000}, "3", None),
        ({"quota": -1, "period": 100_000}, "1", None),
        ({"cpus": "0,2-3"}, "3", "0,2-3"),
        ({"cpus": "1"}, "1", "1"),
        ({"cpus": "0-3", "quota": 200_000, "period": 100_000}, "2", None),
        ({"cpus": "0-1", "quota": 400_000, "period": 100_000}, "2", "0-1"),
        ({"cpus": "x"}, "1", None),
        ({"cpus": ""}, "1", None),
    ],
)
def test_cpus_are_those_that_the_container_may_use(
    make_bundle: Make, cpu: dict[str, Any], cpus: str, pin: str | None
) -> None:
    found = options(make_bundle(**limited(cpu=cpu)))
    assert found["--cpus"] == [cpus]
    assert found.get("--pin") == (pin and [pin])


# ---- volumes -------------------------------------------------------------------------------


def test_volumes_are_shares_named_after_their_place(make_bundle: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = str(tmp_path)
    places = ["/FS", "/srv/www/", "/etc/x", "/run/secrets", "/dev/shm", "/proc/x", "/sys/y", "/var/run/secrets"]
    mounts = [{"destination": place, "source": folder, "type": "bind"} for place in places]
    mounts += [
        {"destination": "/etc/hosts", "source": f"{folder}/file", "options": ["rbind"]},
        {"destination": "/gone", "source": f"{folder}/gone", "options": ["rbind"]},
        {"destination": "/tmp", "source": "tmpfs", "type": "tmpfs"},
    ]
    bundle = make_bundle(mounts=mounts, process={"args": ["/guest"], "capabilities": {"bounding": ["CAP_KILL"]}})
    assert options(bundle)["--share"] == ["/FS:FS", "/srv/www:srv-www", "/etc/x:etc-x"]
    capabilities = bundle.config["process"]["capabilities"]
    assert capabilities["bounding"] == ["CAP_KILL", "CAP_SYS_CHROOT", "CAP_SETPCAP"]
    assert capabilities["effective"] == capabilities["permitted"] == ["CAP_SYS_CHROOT", "CAP_SETPCAP"]
    assert bundle.config["mounts"][-2]["destination"] == "/virtiofsd"


def test_virtiofsd_may_do_what_it_needs_whatever_seccomp_says(make_bundle: Make) -> None:
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["unshare", "mount"], "action": "SCMP_ACT_ERRNO"},
    ]
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}}
    shared = make_bundle(linux=linux, annotations={"run.pyvmm.share": "/a:A"})
    assert rewritten(shared)["linux"]["seccomp"]["syscalls"] == [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "args": []},
        {
            "names": ["unshare"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x200, "op": "SCMP_CMP_EQ"}],
        },
    ]
    allowed = [{"names": ["unshare", "chroot"], "action": "SCMP_ACT_ALLOW"}]
    shared = make_bundle(linux={"seccomp": {"syscalls": allowed}}, annotations={"run.pyvmm.share": "/a:A"})
    assert rewritten(shared)["linux"]["seccomp"]["syscalls"] == allowed
    assert rewritten(make_bundle(linux=linux))["linux"]["seccomp"]["syscalls"] == rules


# ---- what the host has ------------------------------------------------------------------------


def test_only_the_executable_can_be_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(PyvmmError, match="pyvmm as an executable"):
        parts.program_mounts()


def test_the_executable_is_mounted_with_all_that_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("posix.readlink", lambda _: "/usr/local/bin/pyvmm")
    monkeypatch.setitem(sys.__dict__, "_stdlib_dir", "/usr/lib/python")
    mounts = {mount.destination: mount for mount in parts.program_mounts()}
    version = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    assert mounts["/opt/pyvmm/bin/pyvmm"].source == "/usr/local/bin/pyvmm"
    assert mounts[f"/opt/pyvmm/{version}"].source == f"/usr/local/{version}"
    assert mounts["/usr/lib/python"].source == "/usr/lib/python"
    libraries = [place for place in mounts if Path(place, "libc.so.6").exists()]
    assert libraries
    assert all("ro" in mount.options for mount in mounts.values())


def test_no_virtiofsd_and_no_kvm_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(parts, "PROGRAMS", [("/no/virtiofsd", None)])
    with pytest.raises(HostError, match="virtiofsd: No such file or directory; install virtiofsd"):
        parts.share_mount()
    monkeypatch.setattr(parts, "KVM", "/no/kvm")
    with pytest.raises(HostError, match="/no/kvm: No such file"):
        parts.kvm_device()


# ---- anything --------------------------------------------------------------------------------------

_MEMBERS = {
    "process": JSON,
    "annotations": JSON,
    "mounts": JSON,
    "linux": JSON | st.fixed_dictionaries({"resources": st.fixed_dictionaries({"memory": JSON, "cpu": JSON})}),
}


@given(st.fixed_dictionaries({}, optional=_MEMBERS), st.fixed_dictionaries({}, optional={"env": JSON, "user": JSON}))
def test_any_config_of_a_guest_is_one_that_boots_it_or_a_line(members: dict[str, Any], process: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder), **members | {"process": {"args": ["/guest"]} | process})
        try:
            bundle = Bundle(folder)
            config = rewritten(bundle)
        except PyvmmError:
            return
        bundle.save()
        assert json.loads(Path(folder, "config.json").read_text())["process"]["args"][2] == "/guest"
        options = ["ro"]
        assert {"destination": "/opt/pyvmm", "source": "/usr/local", "type": "bind", "options": options} in config[
            "mounts"
        ]
        assert stat.S_ISREG(Path(folder, "config.json").stat().st_mode)
        assert not re.search("[\0]", "".join(config["process"]["args"][:3]))
