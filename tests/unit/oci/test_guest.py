"""Which containers are guests, and what they say about themselves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import JSON, TORO
from guests import Load, elf_image, note
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.oci.bundle import Bundle, BundleError
from pyvmm.oci.guest import MANY, ONE, find

Make = Callable[..., Bundle]


def process(*words: str, **members: Any) -> dict[str, Any]:
    return {"args": list(words), "cwd": "/"} | members


def test_a_toro_image_is_a_guest(make_bundle: Make) -> None:
    guest = find(make_bundle(process=process("/guest", "a", "b c", env=["A=1", "PATH=/bin"])))
    assert guest
    assert (guest.image, guest.arguments, guest.environment) == ("/guest", ["a", "b c"], ["A=1", "PATH=/bin"])
    assert guest.settings == {}


@pytest.mark.parametrize(
    ("words", "members", "image"),
    [
        (["guest"], {"env": ["PATH=/none:relative:/"]}, "//guest"),
        (["./guest"], {"cwd": "/"}, "//./guest"),
        (["../guest"], {"cwd": "/sub"}, "/sub/../guest"),
        (["guest"], {}, None),
        (["guest"], {"env": ["PATH="]}, None),
        (["/missing"], {}, None),
        ([""], {}, None),
        ([], {}, None),
    ],
)
def test_the_entrypoint_is_found_as_a_program_is(
    make_bundle: Make, tmp_path: Path, words: list[str], members: dict[str, Any], image: str | None
) -> None:
    bundle = make_bundle(process=process(*words, **members))
    (tmp_path / "rootfs/sub").mkdir()
    guest = find(bundle)
    assert (guest and guest.image) == image


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\n",
        TORO[:100],
        elf_image([Load(0x10_0000, b"x")], note(b"Xen\0", 18, bytes(4))),
        elf_image([Load(0x10_0000, b"x")], note(b"Toro\0", 2, bytes(24))),
    ],
)
def test_other_programs_are_no_guests_unless_the_image_says_how_to_boot_them(
    make_bundle: Make, tmp_path: Path, data: bytes
) -> None:
    bundle = make_bundle()
    (tmp_path / "rootfs/guest").write_bytes(data)
    assert find(bundle) is None
    (tmp_path / "rootfs/pyvmm.json").write_text('{"boot": "pvh"}')
    assert find(bundle)


def test_annotations_replace_what_the_image_says(make_bundle: Make, tmp_path: Path) -> None:
    annotations = {"run.pyvmm.allow": "all,80=db:5432", "run.pyvmm.pin": "0,1", "org.other": "x", "run.pyvmm.env": ""}
    bundle = make_bundle(annotations=annotations)
    text = json.dumps({"mem": "64M", "cpus": 2, "allow": ["90"], "ports": [80, "8080:81"]})
    (tmp_path / "rootfs/pyvmm.json").write_text(text)
    guest = find(bundle)
    assert guest
    assert guest.settings == {
        "mem": ["64M"],
        "cpus": ["2"],
        "ports": ["80", "8080:81"],
        "allow": ["all", "80=db:5432"],
        "pin": ["0,1"],
        "env": [],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not an object of JSON"),
        ('{"memory": 5}', "no such setting: memory; there are allow, "),
        ('{"mem": {}}', "mem is neither a text nor a number, nor a list of them"),
        ('{"mem": true}', "mem is neither"),
        ('{"ports": [[80]]}', "ports is neither"),
        ('{"mem": ["1G", "2G"]}', "mem has one value"),
        ('{"mem": []}', "mem has one value"),
        ('{"boot": "a\\u0000b"}', "boot has a NUL in it"),
        (" " * (64 << 10) + "{}", "more than 65536 bytes"),
    ],
)
def test_settings_that_are_none_are_a_line(make_bundle: Make, tmp_path: Path, text: str, message: str) -> None:
    bundle = make_bundle()
    (tmp_path / "rootfs/pyvmm.json").write_text(text)
    with pytest.raises(BundleError, match=rf"^/pyvmm.json of the image: {message}"):
        find(bundle)


def test_an_annotation_that_is_none_is_a_line(make_bundle: Make) -> None:
    with pytest.raises(BundleError, match=r"^annotation run.pyvmm.foo: no such setting: foo; "):
        find(make_bundle(annotations={"run.pyvmm.foo": "1"}))


@given(config=st.fixed_dictionaries({}, optional={"process": JSON, "annotations": JSON, "mounts": JSON}), text=JSON)
def test_any_config_is_a_guest_or_none_or_a_line(config: dict[str, object], text: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config | {"root": {"path": "."}}))
        Path(folder, "pyvmm.json").write_text(json.dumps(text))
        try:
            guest = find(Bundle(folder))
        except BundleError:
            return
        assert guest is None


@given(
    st.dictionaries(
        st.sampled_from([f"run.pyvmm.{name}" for name in (*ONE, *MANY, "x")]) | st.text(max_size=4),
        JSON | st.text(max_size=8),
        max_size=4,
    )
)
def test_any_annotations_are_settings_or_a_line(annotations: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = {"root": {"path": "."}, "process": {"args": ["/guest"]}, "annotations": annotations}
        Path(folder, "config.json").write_text(json.dumps(config))
        Path(folder, "guest").write_bytes(TORO)
        try:
            guest = find(Bundle(folder))
        except BundleError:
            return
        assert guest
        assert all(isinstance(value, str) for values in guest.settings.values() for value in values)
