"""A guest of the vsock device that is up; a test that wants another has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from vsockguest import Guest


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    made.start()
    yield made
    made.close()
