"""The system calls that each thread of a confined pyvmm may make, and why.

A thread confines itself before anything of a guest is looked at. What is not in its table
ends the process (SIGSYS). Rules look at numbers only: a filter cannot follow a pointer.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: What an argument must be: its index, and values of which it must be one; a name stands for
    #: what is known when the filter is loaded (`VARIABLES`).
    Among = tuple[int, tuple[int | str, ...]]
    #: Or: bits (of its low half), and what they must be.
    Bits = tuple[int, int, int]
    #: A call is allowed if all conditions of one rule hold.
    Rule = tuple[Among | Bits, ...]
    #: Name, rules (none: any arguments), the feature that asks for it (none: always; behind "!", one that
    #: does without), and why.
    Call = tuple[str, tuple[Rule, ...], str, str]

#: Own process ID, and descriptors: the thread's vCPU, the VM, the guest's entry in the registry, and the registry.
VARIABLES = ("PID", "VCPU", "VM", "ENTRY", "REGISTRY")

#: What a boot may ask for; filters come in variants.
FEATURES: dict[str, tuple[str, ...]] = {
    "vcpu": ("pc",),
    "relay": ("pc", "tcp", "unix"),
    "main": ("pc", "freeze", "timing", "gdb", "registry", "publish"),
    "start": ("registry", "publish"),
    "sampler": (),
}


def _kvm(direction: int, number: int, size: int = 0) -> int:
    """An ioctl of <linux/kvm.h>: 0 no argument, 1 that is written, 2 read, 3 both, as _IOC has it."""
    return direction << 30 | size << 16 | 0xAE << 8 | number


IOCTLS = {
    "KVM_RUN": _kvm(0, 0x80),
    "KVM_TRANSLATE": _kvm(3, 0x85, 24),
    "KVM_SET_USER_MEMORY_REGION": _kvm(1, 0x46, 32),
    "KVM_IOEVENTFD": _kvm(1, 0x79, 64),
    "KVM_IRQ_LINE": _kvm(1, 0x61, 8),
    "KVM_GET_XSAVE": _kvm(2, 0xA4, 4096),
    "KVM_SET_XSAVE": _kvm(1, 0xA5, 4096),
    "KVM_GET_DEBUGREGS": _kvm(2, 0xA1, 128),
    "KVM_SET_DEBUGREGS": _kvm(1, 0xA2, 128),
    "KVM_SIGNAL_MSI": _kvm(1, 0xA5, 32),
    "KVM_GET_REGS": _kvm(2, 0x81, 144),
    "KVM_GET_SREGS": _kvm(2, 0x83, 312),
    "KVM_GET_STATS_FD": _kvm(0, 0xCE),
    "KVM_SET_REGS": _kvm(1, 0x82, 144),
    "KVM_SET_SREGS": _kvm(1, 0x84, 312),
    "KVM_GET_FPU": _kvm(2, 0x8C, 416),
    "KVM_SET_FPU": _kvm(1, 0x8D, 416),
    "KVM_SET_GUEST_DEBUG": _kvm(1, 0x9B, 72),
    "KVM_SET_VCPU_EVENTS": _kvm(1, 0xA0, 64),
    "KVM_SET_MP_STATE": _kvm(1, 0x99, 4),
    "KVM_GET_CPUID2": _kvm(3, 0x91, 8),
    "KVM_GET_LAPIC": _kvm(2, 0x8E, 1024),
    "KVM_GET_VCPU_EVENTS": _kvm(2, 0x9F, 64),
    "KVM_GET_MP_STATE": _kvm(2, 0x98, 4),
    "KVM_GET_TSC_KHZ": _kvm(0, 0xA3),
    "KVM_GET_XCRS": _kvm(2, 0xA6, 392),
    "KVM_GET_MSRS": _kvm(3, 0x88, 8),
    "KVM_SET_MSRS": _kvm(1, 0x89, 8),
    "KVM_GET_DEVICE_ATTR": _kvm(1, 0xE2, 24),
    "KVM_GET_IRQCHIP": _kvm(3, 0x62, 520),
    "KVM_GET_PIT2": _kvm(2, 0x9F, 112),
    "KVM_GET_CLOCK": _kvm(2, 0x7C, 48),
    "TCGETS": 0x5401,
    "TCSETS": 0x5402,
    "TIOCGPGRP": 0x540F,
    "FIONBIO": 0x5421,
}
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_STREAM, _SOCK_FLAGS = 1, 0o4000 | 0o2000000  # SOCK_NONBLOCK, SOCK_CLOEXEC
_IPPROTO_TCP = 6
_F_DUPFD_CLOEXEC = 1030
#: O_WRONLY | O_CLOEXEC, without and with O_CREAT | O_TRUNC.
_OPEN_ENTRY = (0o2000001, 0o2001101)
_PROT_WRITE, _PROT_EXEC, _MAP_ANONYMOUS = 2, 4, 0x20
_SIGTSTP, _KICK = 20, 34  # THREAD_KICK_SIGNAL is glibc's SIGRTMIN
_ENDING = (1, 2, 15)  # SIGHUP, SIGINT, SIGTERM
_CLONE_THREAD = 0x3D0F00  # all that clone(2) has to share for a thread
_WRITING = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE's bit

_NOT_EXECUTABLE: tuple[Rule, ...] = (((2, _PROT_EXEC, 0),),)


def _ioctls(fd: str, names: str) -> tuple[Rule, ...]:
    requests: Among = (1, tuple(IOCTLS[name] for name in names.split()))
    return (((0, (fd,)), requests),) if fd else ((requests,),)


def _socket(families: tuple[int, ...], protocols: tuple[int, ...]) -> tuple[Rule, ...]:
    return (((0, families), (1, 0xFFFFFFFF & ~_SOCK_FLAGS, _SOCK_STREAM), (2, protocols)),)


#: Every thread: its end, locks, and the time where the vDSO does not know it.
_COMMON: tuple[Call, ...] = (
    ("futex", (), "", "locks and semaphores"),
    ("clock_gettime", (), "", "the time, with a clock that the vDSO cannot read"),
    ("exit_group", (), "", "the end of the process"),
)

#: Of threads that may end before the process does.
_THREAD_END: tuple[Call, ...] = (
    ("restart_syscall", (), "", "goes on waiting after SIGCONT"),
    ("rt_sigprocmask", (), "", "the thread's end"),
    ("madvise", (), "", "the thread's end: its stack"),
    ("exit", (), "", "the thread's end"),
)

_VCPU: tuple[Call, ...] = (
    ("ioctl", _ioctls("VCPU", "KVM_RUN KVM_TRANSLATE"), "", "runs the guest; where a string of its output is"),
    (
        "ioctl",
        _ioctls("VCPU", "KVM_GET_XSAVE KVM_SET_XSAVE KVM_GET_DEBUGREGS KVM_SET_DEBUGREGS"),
        "",
        "instructions that KVM cannot execute",
    ),
    ("ioctl", _ioctls("VM", "KVM_SET_USER_MEMORY_REGION"), "", "memory slots"),
    ("ioctl", _ioctls("VM", "KVM_IRQ_LINE"), "pc", "the line of a virtio device"),
    ("write", (), "", "console output, eventfds"),
    ("poll", (), "", "waits for who reads the console"),
    ("sendto", (), "", "console output to a socket"),
    *_COMMON,
    ("rt_sigreturn", (), "", "the signal that breaks KVM_RUN"),
    *_THREAD_END,
)

_RELAY: tuple[Call, ...] = (
    ("epoll_wait", (), "", "waits for sockets and queues"),
    ("sched_yield", (), "!pc", "lets the guest run while it polls"),
    ("recvmsg", (), "", "from clients and targets"),
    ("sendmsg", (), "", "to clients and targets"),
    ("write", (), "", "eventfds: interrupts, notes for the control thread"),
    ("accept4", (), "", "clients"),
    ("close", (), "", "connections"),
    ("epoll_ctl", (), "", "connections come and go"),
    ("setsockopt", (), "", "TCP_NODELAY, resets"),
    ("getsockopt", (), "", "whether a connection was made, whether all has arrived"),
    ("shutdown", (), "", "the end of one direction"),
    ("mmap", _NOT_EXECUTABLE, "", "memory of streams"),
    ("fcntl", (((1, (_F_DUPFD_CLOEXEC,)),),), "", "the spare descriptor, with which clients are refused"),
    ("brk", (), "", "memory of streams"),
    *_COMMON,
    ("socket", _socket((_AF_INET, _AF_INET6), (0, _IPPROTO_TCP)), "tcp", "--allow; Landlock knows the ports"),
    ("socket", _socket((_AF_UNIX,), (0,)), "unix", "--vsock-uds: PATH_PORT"),
    ("connect", (), "tcp", "--allow"),
    ("connect", (), "unix", "--vsock-uds"),
    ("getsockname", (), "tcp", "whether a connection is one to itself"),
    ("getsockname", (), "unix", "the same"),
    ("ioctl", _ioctls("VM", "KVM_IRQ_LINE"), "pc", "the line of the device"),
)

_MAIN: tuple[Call, ...] = (
    ("epoll_wait", (), "", "waits for events"),
    ("epoll_ctl", (), "", "what to wait for"),
    ("poll", (), "", "waits for a backend, or for who reads stderr"),
    ("read", (), "", "eventfds, timers, signals, input"),
    ("preadv2", (), "", "input that may be another's by now (RWF_NOWAIT)"),
    ("write", (), "", "messages, eventfds"),
    ("recvmsg", (), "", "vhost-user, the control socket, the debugger, the helper"),
    ("sendmsg", (), "", "vhost-user, the helper"),
    ("sendto", (), "", "answers of the control socket"),
    ("accept4", (), "", "clients of consoles and of the control socket"),
    ("getsockname", (), "", "whether a descriptor is a socket"),
    ("getsockopt", (), "", "vsock's last connections, when the guest has ended"),
    ("setsockopt", (), "", "the same; TCP_NODELAY of the debugger's connection"),
    ("shutdown", (), "", "connections of backends"),
    ("close", (), "", "connections, and everything at the end"),
    ("fcntl", (), "", "descriptors that are not to block"),
    ("ioctl", _ioctls("", "TCGETS TCSETS TIOCGPGRP FIONBIO"), "", "the terminal; sockets that are not to block"),
    ("ioctl", _ioctls("VM", "KVM_SIGNAL_MSI"), "", "asks the guest to end"),
    ("ioctl", _ioctls("VM", "KVM_IOEVENTFD KVM_SET_USER_MEMORY_REGION"), "", "frequent notifications of a queue"),
    ("ioctl", _ioctls("", "KVM_GET_REGS KVM_GET_SREGS"), "", "where a vCPU has failed; whether that was a reset"),
    ("ioctl", _ioctls("VM", "KVM_IRQ_LINE"), "pc", "the line of a virtio-console"),
    ("ioctl", _ioctls("", "KVM_GET_STATS_FD"), "timing", "what KVM has interpreted"),
    (
        "ioctl",
        _ioctls(
            "",
            "KVM_GET_CPUID2 KVM_GET_LAPIC KVM_GET_VCPU_EVENTS KVM_GET_MP_STATE KVM_GET_TSC_KHZ KVM_GET_XCRS "
            "KVM_GET_XSAVE KVM_GET_DEBUGREGS KVM_GET_MSRS KVM_SET_MSRS KVM_GET_DEVICE_ATTR KVM_GET_IRQCHIP "
            "KVM_GET_PIT2 KVM_GET_CLOCK KVM_GET_FPU",
        ),
        "freeze",
        "the State of the guest; a core file",
    ),
    (
        "ioctl",
        _ioctls(
            "",
            "KVM_SET_GUEST_DEBUG KVM_SET_REGS KVM_SET_SREGS KVM_GET_FPU KVM_SET_FPU KVM_GET_XSAVE KVM_SET_XSAVE "
            "KVM_GET_DEBUGREGS KVM_SET_DEBUGREGS KVM_GET_LAPIC KVM_GET_CPUID2 KVM_GET_MSRS KVM_SET_MSRS "
            "KVM_GET_VCPU_EVENTS KVM_SET_VCPU_EVENTS KVM_GET_MP_STATE KVM_SET_MP_STATE KVM_GET_TSC_KHZ "
            "KVM_GET_DEVICE_ATTR KVM_RUN",
        ),
        "gdb",
        "what the debugger shows and changes",
    ),
    ("pread64", (), "", "what /proc and KVM count; which pages a frozen file is to have"),
    ("lseek", (), "", "the table of mounts; which pages a frozen file is to have"),
    ("timerfd_create", (), "", "grace for a guest that was asked to end; looks whether it is idle"),
    ("timerfd_settime", (), "", "the same"),
    ("tgkill", (((0, ("PID",)), (2, (_KICK, _SIGTSTP))),), "", "breaks a vCPU out of KVM_RUN; stops after Ctrl-Z"),
    ("getpid", (), "", "the same"),
    ("unlinkat", (((0, ("ENTRY", "REGISTRY")),),), "registry", "removes the entry, to which Landlock limits it"),
    ("socket", _socket((_AF_INET, _AF_INET6), (0, _IPPROTO_TCP)), "publish", "-p *: a port at which the guest listens"),
    ("bind", (), "publish", "the same"),
    ("listen", (), "publish", "the same"),
    ("wait4", (), "", "the end of the first virtiofsd"),
    ("rt_sigprocmask", (), "", "stops after Ctrl-Z"),
    ("rt_sigreturn", (), "", "signals"),
    ("restart_syscall", (), "", "goes on waiting after SIGCONT"),
    ("mmap", _NOT_EXECUTABLE, "", "Python's memory"),
    ("mremap", (), "", "Python's memory"),
    ("munmap", (), "", "Python's memory; threads' stacks"),
    ("brk", (), "", "Python's memory"),
    ("madvise", (), "", "Python's memory"),
    *_COMMON,
)

#: Until Python is up and the machine's devices are attached.
_START: tuple[Call, ...] = (
    *_MAIN,
    ("openat", (((2, _WRITING, 0),),), "", "the interpreter's files, to which Landlock limits it"),
    ("newfstatat", (), "", "the same"),
    ("access", (), "", "the same"),
    ("readlink", (), "", "the same"),
    ("getdents64", (), "", "the same"),
    ("fstat", (), "", "the same"),
    (
        "mmap",
        (((2, _PROT_EXEC, 0),), ((2, _PROT_WRITE, 0), (3, _MAP_ANONYMOUS, 0))),
        "",
        "its extension modules: what is mapped executable is a file that may be opened",
    ),
    ("mprotect", _NOT_EXECUTABLE, "", "the same"),
    ("getrandom", (), "", "Python's start"),
    ("rt_sigaction", (), "", "Python's start"),
    ("sigaltstack", (), "", "Python's start"),
    ("sysinfo", (), "", "Python's start"),
    ("prlimit64", (((0, (0,)), (2, (0,))),), "", "Python's start"),
    ("gettid", (), "", "Python's start"),
    ("getuid", (), "", "Python's start"),
    ("geteuid", (), "", "Python's start"),
    ("getgid", (), "", "Python's start"),
    ("getpgrp", (), "", "whether the terminal is this job's"),
    ("getegid", (), "", "Python's start"),
    ("getcwd", (), "", "Python's start"),
    ("dup", (), "", "Python's start"),
    ("dup2", (), "", "--detach: what is said goes to the log"),
    ("uname", (), "", "Python's start"),
    ("sched_yield", (), "", "lets the guest run"),
    ("sched_getaffinity", (), "", "--pin"),
    ("epoll_create1", (), "", "the event loop"),
    ("eventfd2", (), "", "the event loop"),
    ("signalfd4", (), "", "signals"),
    (
        "openat",
        (((2, _OPEN_ENTRY),),),
        "registry",
        "the guest's entry: made and described, where Landlock lets it be",
    ),
    ("mkdirat", (), "registry", "the same"),
    ("renameat", (), "registry", "the same"),
    ("unlinkat", (), "registry", "the same"),
    ("flock", (), "registry", "the same"),
    ("clock_nanosleep", (), "registry", "the same"),
    ("socket", _socket((_AF_UNIX,), (0,)), "registry", "the control socket"),
    ("bind", (), "registry", "the control socket"),
    ("listen", (), "registry", "the control socket"),
    ("prctl", (), "", "what follows"),
    (
        "clone",
        (((0, (_CLONE_THREAD,)),),),
        "",
        "a thread for the vCPU that this thread has run (clone3, whose flags no filter sees, is missing)",
    ),
    ("set_robust_list", (), "", "the same"),
    ("rseq", (), "", "the same"),
    ("exit", (), "", "the same"),
    ("setitimer", (), "", "has that vCPU leave after a while"),
    ("tgkill", (((0, ("PID",)), (2, _ENDING)),), "", "a signal that came meanwhile"),
    ("ioctl", _ioctls("", "KVM_TRANSLATE"), "", "that vCPU: where a string of its output is"),
    ("setfsuid", (), "", "what follows"),
    ("capset", (), "", "what follows"),
    ("landlock_create_ruleset", (), "", "what follows"),
    ("landlock_add_rule", (), "", "what follows"),
    ("landlock_restrict_self", (), "", "what follows"),
    ("seccomp", (), "", "what follows: the filter of the main thread"),
)

#: Looks for --trace whether vCPUs are halted.
_SAMPLER: tuple[Call, ...] = (
    ("pread64", (), "", "what KVM counts of a vCPU"),
    ("clock_nanosleep", (), "", "until the next look"),
    ("write", (), "", "what is said of a violation"),
    *_COMMON,
    *_THREAD_END,
)

#: Calls that a thread finds missing (ENOSYS): libc has others for them.
MISSING: dict[str, tuple[str, ...]] = {"start": ("clone3",)}

THREADS: dict[str, tuple[Call, ...]] = {
    "vcpu": _VCPU,
    "relay": _RELAY,
    "main": _MAIN,
    "start": _START,
    "sampler": _SAMPLER,
}


def allowed(thread: str, features: frozenset[str]) -> dict[str, tuple[Rule, ...]]:
    """The rules of each call that a thread may make; none if it may be made with any arguments.

    Args:
        thread: of `THREADS`.
        features: what was asked for, of `FEATURES[thread]`. The thread `start` has all others as well.
    """
    rules: dict[str, tuple[Rule, ...]] = {}
    for name, more, feature, _ in THREADS[thread]:
        wanted = feature[1:] not in features if feature[:1] == "!" else not feature or feature in features
        if wanted or (thread == "start" and feature not in FEATURES[thread]):
            free = name in rules and not rules[name]
            rules[name] = () if free or not more else (*rules.get(name, ()), *more)
    return rules
