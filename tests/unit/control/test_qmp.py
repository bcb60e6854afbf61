"""QMP: how texts are told apart, and what a session answers, whatever comes."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.control.qmp import COMMAND_MAX, CommandError, Session, Splitter
from pyvmm.errors import HostError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


def fail(*_: object) -> object:
    raise HostError("freezing", 3)


def refuse(*_: object) -> object:
    raise CommandError("not now")


def lack(*_: object) -> object:
    raise OSError(24, "Too many open files")


class Talk:
    """A session, and what it has said."""

    def __init__(self, negotiated: bool = True) -> None:
        self.said: list[dict[str, Any]] = []
        self.fds: list[int] = []
        commands = {"echo": self.echo, "fail": fail, "refuse": refuse, "lack": lack}
        self.session = Session(commands, lambda data: self.said.append(json.loads(data)))
        self.session.greet()
        if negotiated:
            assert self.ask({"execute": "qmp_capabilities"}) == {"return": {}}

    def echo(self, arguments: dict[str, Any], fds: list[int]) -> object:
        self.fds = [*fds]
        return arguments

    def send(self, data: bytes, *fds: int) -> list[dict[str, Any]]:
        self.said.clear()
        assert self.session.receive(data, [*fds])
        return self.said

    def ask(self, request: object) -> dict[str, Any]:
        (answer,) = self.send(json.dumps(request).encode())
        return answer


@given(st.lists(OBJECTS, max_size=5), st.integers(0, 3), st.booleans(), st.randoms())
def test_objects_are_told_apart_however_they_come(
    objects: list[dict[str, object]], indent: int, newline: bool, random: Any
) -> None:
    data = (b"\r\n" if newline else b"").join(json.dumps(each, indent=indent or None).encode() for each in objects)
    splitter, found = Splitter(), []
    while data:
        size = random.randint(1, len(data))
        found += splitter.feed(data[:size])
        data = data[size:]
    assert [json.loads(text) for text in found] == objects
    assert len(splitter) == 0


@given(st.lists(st.binary(max_size=40)))
def test_whatever_comes_is_answered_and_does_not_raise(parts: list[bytes]) -> None:
    talk = Talk()
    for part in parts:
        talk.send(part)
        assert all("error" in answer for answer in talk.said)


def test_the_greeting_comes_first() -> None:
    (greeting,) = Talk(negotiated=False).said
    assert greeting["QMP"]["capabilities"] == []
    assert {*greeting["QMP"]["version"]["qemu"]} == {"major", "minor", "micro"}


def test_nothing_but_the_negotiation_is_done_before_it() -> None:
    talk = Talk(negotiated=False)
    assert talk.ask({"execute": "echo"})["error"]["class"] == "CommandNotFound"
    talk.said.clear()
    talk.session.event("STOP", {})
    assert talk.said == []
    assert (
        talk.ask({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})["error"]["class"] == "GenericError"
    )
    assert talk.ask({"execute": "qmp_capabilities"}) == {"return": {}}
    assert talk.ask({"execute": "qmp_capabilities"})["error"]["class"] == "CommandNotFound"


def test_an_answer_has_the_command_s_id() -> None:
    talk = Talk()
    assert talk.ask({"execute": "echo", "arguments": {"a": [1]}, "id": {"x": 5}}) == {
        "return": {"a": [1]},
        "id": {"x": 5},
    }
    assert talk.ask({"execute": "none", "id": 7})["id"] == 7


@pytest.mark.parametrize(
    "request_",
    [
        [],
        {},
        {"execute": 5},
        {"execute": "echo", "arguments": 3},
        {"execute": "echo", "more": 1},
        {"execute": "refuse"},
    ],
)
def test_what_is_no_command_is_an_error(request_: object) -> None:
    answer = Talk().ask(request_)
    assert answer["error"]["class"] == "GenericError"
    assert answer["error"]["desc"]


def test_an_error_of_pyvmm_is_told() -> None:
    assert Talk().ask({"execute": "fail"})["error"]["desc"] == "freezing: No such process"
    assert Talk().ask({"execute": "lack"})["error"]["desc"] == "lack: Too many open files"


def test_nested_too_deeply_is_an_error() -> None:
    (answer,) = Talk().send(b"[" * 30000 + b"]" * 30000)
    assert answer["error"]["class"] == "GenericError"


def test_a_command_without_end_ends_the_connection() -> None:
    talk = Talk()
    assert talk.session.receive(b"{" + b" " * (COMMAND_MAX - 1), [])
    assert not talk.session.receive(b" ", [])


def test_events_have_a_time() -> None:
    talk = Talk()
    talk.said.clear()
    talk.session.event("STOP", {})
    talk.session.event("SHUTDOWN", {"guest": True})
    assert [each["event"] for each in talk.said] == ["STOP", "SHUTDOWN"]
    assert talk.said[1]["data"] == {"guest": True}
    assert {*talk.said[0]["timestamp"]} == {"seconds", "microseconds"}


def test_descriptors_are_closed_whatever_becomes_of_them() -> None:
    talk = Talk()

    def spare() -> int:
        return os.open("/dev/null", os.O_RDONLY)

    given_ = [spare(), spare()]
    talk.send(b'{"execute": "echo"}', *given_)
    assert talk.fds == given_
    unused = spare()
    talk.send(b'{"execute":', unused)
    talk.session.close()
    flood = [spare() for _ in range(10)]
    talk.send(b" ", *flood)
    for fd in [*given_, unused, *flood]:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
