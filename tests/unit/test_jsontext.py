"""pyvmm.jsontext: as the standard library's `json`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.jsontext import dumps, loads

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda each: st.lists(each) | st.dictionaries(texts, each),
)


@given(values, st.sampled_from([None, 2]))
def test_a_value_goes_there_and_back(value: object, indent: int | None) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(json.dumps(value, indent=indent)) == value


@given(texts | texts.map("{}[".__add__) | st.text('{}[]",:\\u01 nultrefas-.e\n'))
def test_any_text_is_taken_or_refused_alike(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            loads(text)
    else:
        assert dumps(loads(text)) == json.dumps(expected)


def test_a_text_nested_too_deeply() -> None:
    with pytest.raises(RecursionError):
        loads("[" * 100_000)
