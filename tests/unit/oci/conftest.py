"""Bundles made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from pyvmm.oci.bundle import Bundle


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """A bundle of a guest, in tmp_path; config.json has these members as well."""

    def make(**members: Any) -> Bundle:
        write_bundle(tmp_path, **members)
        return Bundle(str(tmp_path))

    return make
