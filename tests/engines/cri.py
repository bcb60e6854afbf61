"""A client of the Kubernetes Container Runtime Interface, over grpcio.

Of the messages of `runtime.v1` (k8s.io/cri-api, api.proto), only the fields that the tests
need are here, by their numbers; they are encoded by hand, which saves a compiler of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: A message: values by field number. An int is a varint, a dict another message, and a list repeats the field.
Message = dict[int, Any]
_HOST = 2  # NamespaceMode.NODE
_EXITED = 2  # ContainerState.CONTAINER_EXITED


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(message: Message) -> bytes:
    """A message on the wire (protobuf.dev, "Encoding")."""
    out = b""
    for number, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += _varint(number << 3) + _varint(value)
                continue
            data = encode(value) if isinstance(value, dict) else value.encode()
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def decode(data: bytes) -> dict[int, list[Any]]:
    """The values of each field: ints, and bytes of texts and messages."""
    fields: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        value: Any = varint()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _map(values: dict[str, str]) -> list[Message]:
    return [{1: key, 2: value} for key, value in values.items()]


class Cri:
    """A connection to the socket of an engine."""

    def __init__(self, socket: str) -> None:
        import grpc

        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._pods: dict[str, Message] = {}

    def __enter__(self) -> Cri:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _call(self, method: str, request: Message) -> dict[int, list[Any]]:
        call = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}", request_serializer=encode, response_deserializer=decode
        )
        answer: dict[int, list[Any]] = call(request, timeout=60)
        return answer

    def run_pod(self, name: str, logs: str, handler: str) -> str:
        """RunPodSandbox, with the node's network; returns the pod's ID."""
        security = {1: {1: _HOST}}  # namespace_options: network
        config: Message = {
            1: {1: name, 2: f"uid-{name}", 3: "default"},
            3: logs,
            8: {2: security},  # linux: security_context
        }
        pod = self._call("RunPodSandbox", {1: config, 2: handler})[1][0].decode()
        self._pods[pod] = config
        return str(pod)

    def start(
        self,
        pod: str,
        name: str,
        image: str,
        words: Iterable[str] = (),
        mounts: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> str:
        """CreateContainer and StartContainer; returns the container's ID."""
        config: Message = {
            1: {1: name},
            2: {1: image},
            3: list(words),
            7: [{1: place, 2: source} for place, source in (mounts or {}).items()],
            10: _map(annotations or {}),
            11: f"{name}.log",
            15: {2: {3: {1: _HOST}}},  # linux: security_context: namespace_options
        }
        container = self._call("CreateContainer", {1: pod, 2: config, 3: self._pods[pod]})[1][0].decode()
        self._call("StartContainer", {1: container})
        return str(container)

    def exit_code(self, container: str) -> int | None:
        """Of ContainerStatus; None while it runs."""
        status = decode(self._call("ContainerStatus", {1: container})[1][0])
        return status.get(7, [0])[0] if status.get(3, [0])[0] == _EXITED else None

    def stop(self, container: str, seconds: int) -> None:
        """StopContainer: SIGTERM, and SIGKILL after so many seconds."""
        self._call("StopContainer", {1: container, 2: seconds})

    def remove_pod(self, pod: str, containers: Iterable[str]) -> None:
        """Ends and removes all of a pod."""
        for container in containers:
            self.stop(container, 0)
            self._call("RemoveContainer", {1: container})
        self._call("StopPodSandbox", {1: pod})
        self._call("RemovePodSandbox", {1: pod})
