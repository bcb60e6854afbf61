"""Numbers of system calls on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl of Linux)."""

from __future__ import annotations

NUMBERS = {
    name: int(number)
    for number, name in (
        word.split(":")
        for word in """
        0:read 1:write 3:close 5:fstat 7:poll 8:lseek 9:mmap 10:mprotect 11:munmap 12:brk 13:rt_sigaction
        14:rt_sigprocmask 15:rt_sigreturn 16:ioctl 17:pread64 21:access 24:sched_yield 25:mremap 28:madvise 32:dup
        33:dup2 38:setitimer 39:getpid 41:socket 42:connect 44:sendto 46:sendmsg 47:recvmsg 48:shutdown 49:bind
        50:listen 51:getsockname 54:setsockopt 55:getsockopt 56:clone 60:exit 61:wait4 63:uname 72:fcntl 73:flock
        79:getcwd 89:readlink 99:sysinfo 102:getuid 104:getgid 107:geteuid 108:getegid 111:getpgrp 122:setfsuid
        126:capset 131:sigaltstack 157:prctl 186:gettid 202:futex 204:sched_getaffinity 217:getdents64
        219:restart_syscall 228:clock_gettime 230:clock_nanosleep 231:exit_group 232:epoll_wait 233:epoll_ctl
        234:tgkill 257:openat 258:mkdirat 262:newfstatat 263:unlinkat 264:renameat 273:set_robust_list
        283:timerfd_create 286:timerfd_settime 288:accept4 289:signalfd4 290:eventfd2 291:epoll_create1
        302:prlimit64 317:seccomp 318:getrandom 327:preadv2 334:rseq 435:clone3 444:landlock_create_ruleset
        445:landlock_add_rule 446:landlock_restrict_self
        """.split()
    )
}
