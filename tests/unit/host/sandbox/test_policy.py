"""The table of system calls: what it must not contain, and how long it may be."""

from __future__ import annotations

import pytest

from pyvmm.host.sandbox.bpf import variants
from pyvmm.host.sandbox.calls import NUMBERS
from pyvmm.host.sandbox.policy import FEATURES, IOCTLS, THREADS, allowed

VARIANTS = [(thread, features) for thread in THREADS for features in variants(thread)]
#: What Firecracker allows its vCPU and VMM threads is 21 and 39 calls (docs/security.md).
CALLS_MAX = {"vcpu": 12, "relay": 20, "main": 39, "start": 84, "sampler": 10}
VCPU_IOCTLS_MAX = 8
#: Names that lead out of any sandbox, or into the kernel's less trodden parts.
NEVER = {
    "execve", "execveat", "fork", "vfork", "clone3", "ptrace", "process_vm_readv", "process_vm_writev",
    "open", "openat2", "creat", "unlink", "rename", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns",
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key", "init_module", "kexec_load",
    "memfd_create", "socketpair", "pidfd_getfd", "shmget", "msgget", "ioperm", "iopl",
}  # fmt: skip


def names(thread: str, features: frozenset[str]) -> set[str]:
    """What a thread may call."""
    return {*allowed(thread, features)}


@pytest.mark.parametrize(("thread", "features"), VARIANTS)
def test_a_thread_may_make_few_calls(thread: str, features: frozenset[str]) -> None:
    calls = names(thread, features)
    assert 0 < len(calls) <= CALLS_MAX[thread]
    assert not calls & NEVER
    assert calls <= NUMBERS.keys()
    assert calls >= {"exit_group", "write"}, "the handler of violations needs them"


@pytest.mark.parametrize("features", variants("vcpu"))
def test_a_vcpu_may_do_little_with_kvm(features: frozenset[str]) -> None:
    requests = {value for rule in allowed("vcpu", features)["ioctl"] for value in rule[1][1]}  # type: ignore[union-attr]
    assert 0 < len(requests) <= VCPU_IOCTLS_MAX
    assert requests <= {*IOCTLS.values()}


@pytest.mark.parametrize("thread", THREADS)
def test_nothing_can_be_mapped_writable_and_executable(thread: str) -> None:
    for name in ("mmap", "mprotect"):
        for rule in allowed(thread, frozenset(FEATURES[thread])).get(name, ()):
            assert any(condition in ((2, 4, 0), (2, 2, 0)) for condition in rule)
    assert allowed(thread, frozenset()).get("mmap", ("none",)), "with any arguments"


def test_the_main_thread_opens_and_makes_nothing_once_it_has_settled() -> None:
    later = names("main", frozenset(FEATURES["main"]))
    assert not later & {"openat", "newfstatat", "mkdirat", "connect", "seccomp", "prctl", "rt_sigaction", "mprotect"}
    assert later - names("main", frozenset(FEATURES["main"]) - {"publish"}) == {"socket", "bind", "listen"}
    assert later <= names("start", frozenset(FEATURES["start"]))


def test_what_the_main_thread_makes_before_may_do_its_own() -> None:
    assert names("vcpu", frozenset(FEATURES["vcpu"])) <= names("start", frozenset())


def test_only_who_connects_may_have_sockets() -> None:
    assert not names("relay", frozenset()) & {"socket", "connect", "ioctl"}
    assert {"socket", "connect"} <= names("relay", frozenset({"tcp"}))


def test_every_row_has_a_reason() -> None:
    assert all(why for calls in THREADS.values() for *_, why in calls)
    assert all(feature.removeprefix("!") in ("", *FEATURES[thread]) for thread in FEATURES if thread != "start"
               for *_, feature, _ in THREADS[thread])  # fmt: skip
