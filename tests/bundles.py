"""OCI bundles made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from guests import Load, elf_image, toro_note
from hypothesis import strategies as st

from pyvmm.oci.bundle import Bundle

#: An image that asks for direct boot.
TORO = elf_image([Load(0x10_0000, b"\xf4" * 16)], toro_note(0x10_0000))

#: Any value of JSON.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def write_bundle(folder: Path, **members: Any) -> Path:
    """Makes a bundle whose image has `/guest`, a Toro image; returns the image's root."""
    root = folder / "rootfs"
    root.mkdir(exist_ok=True)
    (root / "guest").write_bytes(TORO)
    config: dict[str, Any] = {"root": {"path": "rootfs"}, "process": {"args": ["/guest"], "cwd": "/"}} | members
    (folder / "config.json").write_text(json.dumps(config))
    return root


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """A bundle of a guest, in tmp_path; config.json has these members as well."""

    def make(**members: Any) -> Bundle:
        write_bundle(tmp_path, **members)
        return Bundle(str(tmp_path))

    return make
