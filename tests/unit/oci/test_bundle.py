"""Bundles: config.json, and files that a hostile image cannot lead out of the container."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import JSON
from guests import open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.errors import HostError
from pyvmm.oci.bundle import Bundle, BundleError, member, parse, texts


def test_what_was_changed_is_saved_and_the_mode_stays(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = make_bundle(hostname="a")
    file = tmp_path / "config.json"
    file.chmod(0o640)
    bundle.config["hostname"] = "\udcff b"
    bundle.save()
    assert json.loads(file.read_text())["hostname"] == "\udcff b"
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["config.json", "rootfs"]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"root": 1}', '{"root": {}}', "[" * 100_000])
def test_a_config_that_is_none_is_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    before = open_fds()
    with pytest.raises(BundleError, match=r"config.json: (not an object of JSON|root.path is missing)$"):
        Bundle(str(tmp_path))
    assert open_fds() == before


def test_no_bundle_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"config.json: No such file"):
        Bundle(str(tmp_path))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_line(text: bytes) -> None:
    try:
        value: object = parse(text, "here")
    except BundleError:
        value = {}
    assert isinstance(value, dict)


@given(JSON, st.text(max_size=8))
def test_members_have_the_type_that_was_asked_for(value: object, name: str) -> None:
    for kind in (dict, list, str, int):
        assert isinstance(member(value, name, kind), kind)
        assert isinstance(member({name: value}, name, kind), kind)
    assert all(isinstance(text, str) for text in texts({name: value}, name))


# ---- files of the container ------------------------------------------------------------


def test_a_file_of_the_image_is_read(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = make_bundle()
    (tmp_path / "rootfs/a").mkdir()
    (tmp_path / "rootfs/a/b").write_text("text")
    assert bundle.read("/a/b", 4) == bundle.read("//a/./b", 4) == b"text"
    assert bundle.read("/a", 4) == bundle.read("/c", 4) == bundle.read("/a/b/c", 4) == bundle.read("/", 4) == b""
    with pytest.raises(BundleError, match="/a/b of the image: more than 3 bytes"):
        bundle.read("/a/b", 3)


@pytest.mark.parametrize(
    "target", ["/secret", "../secret", "../../../../../../../../secret", "/proc/self/cwd/secret", "/proc/1/root/secret"]
)
def test_links_do_not_lead_out_of_the_image(make_bundle: Callable[..., Bundle], tmp_path: Path, target: str) -> None:
    bundle = make_bundle()
    (tmp_path / "secret").write_text("host")
    (tmp_path / "rootfs/link").symlink_to(target)
    (tmp_path / "rootfs/up").symlink_to("..")
    assert bundle.read("/link", 100) == b""
    assert bundle.read("/up/secret", 100) == bundle.read("/../secret", 100) == b""
    (tmp_path / "rootfs/secret").write_text("image")
    if "proc" not in target:
        assert bundle.read("/link", 100) == b"image"
    assert bundle.read("/up/secret", 100) == b"image"


def test_what_is_no_regular_file_is_not_opened(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = make_bundle()
    os.mkfifo(tmp_path / "rootfs/pipe")
    (tmp_path / "rootfs/loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.getcwd()
        os.chdir(tmp_path / "rootfs")
        sock.bind("socket")
        os.chdir(folder)
    before = open_fds()
    for path in ("/pipe", "/socket", "/loop", "/a\0b", "/\ud800", "/" + "x" * 5000):
        assert bundle.open(path) == -1
    assert open_fds() == before


def test_a_mount_hides_what_the_image_has(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/file").write_text("volume")
    (tmp_path / "one").write_text("one file")
    bundle = make_bundle(
        mounts=[
            {"destination": "/data/", "source": str(tmp_path / "volume"), "options": ["rbind"]},
            {"destination": "/file", "source": str(tmp_path / "one"), "type": "bind"},
            {"destination": "/tmp", "source": "tmpfs", "type": "tmpfs"},
            {"destination": "/gone", "source": "/no/such", "type": "bind"},
            {"destination": 7, "source": [], "options": {"bind": 1}},
            "none",
        ]
    )
    (tmp_path / "rootfs/data").mkdir()
    (tmp_path / "rootfs/data/file").write_text("image")
    assert bundle.read("/data/file", 100) == b"volume"
    assert bundle.read("/file", 100) == b"one file"
    assert bundle.read("/gone/x", 100) == b""
    assert [mount.destination for mount in bundle.binds()] == ["/data", "/file", "/gone"]
