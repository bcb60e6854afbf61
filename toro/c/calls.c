/* System calls of musl, which are those of Linux. `pyvmm build` replaces each `syscall`
 * instruction of a program by a jump to a copy of the code around it that calls toro_syscall
 * instead (pyvmm/toolchain/syscalls.py). It refuses a program that makes calls which are not named
 * here. */
#define _GNU_SOURCE
#include "toro.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#define STATUS_SIGNAL 128 /* exit status of a program that a signal has ended, less the signal */
#define SET_FS 0x1002     /* arch_prctl */

/* Which arguments are addresses: bit N is for argument N, from 0. */
#define FIRST 1
#define SECOND 2
#define THIRD 4
#define CALL(addresses) (8 | (addresses))

void mpi_leave(int status); /* toro/mpi/world.c */

/* Calls that the kernel has. */
static const unsigned char calls[] = {
    [SYS_read] = CALL(SECOND),
    [SYS_write] = CALL(SECOND),
    [SYS_open] = CALL(FIRST),
    [SYS_close] = CALL(0),
    [SYS_stat] = CALL(FIRST | SECOND),
    [SYS_fstat] = CALL(SECOND),
    [SYS_lstat] = CALL(FIRST | SECOND),
    [SYS_lseek] = CALL(0),
    [SYS_ioctl] = CALL(THIRD),
    [SYS_access] = CALL(FIRST),
    [SYS_sched_yield] = CALL(0),
    [SYS_dup] = CALL(0),
    [SYS_dup2] = CALL(0),
    [SYS_nanosleep] = CALL(FIRST | SECOND),
    [SYS_fcntl] = CALL(0),
    [SYS_fsync] = CALL(0),
    [SYS_truncate] = CALL(FIRST),
    [SYS_ftruncate] = CALL(0),
    [SYS_getcwd] = CALL(FIRST),
    [SYS_chdir] = CALL(FIRST),
    [SYS_rename] = CALL(FIRST | SECOND),
    [SYS_mkdir] = CALL(FIRST),
    [SYS_rmdir] = CALL(FIRST),
    [SYS_unlink] = CALL(FIRST),
    [SYS_readlink] = CALL(FIRST | SECOND),
    [SYS_chmod] = CALL(FIRST),
    [SYS_umask] = CALL(0),
    [SYS_getuid] = CALL(0),
    [SYS_getgid] = CALL(0),
    [SYS_geteuid] = CALL(0),
    [SYS_getegid] = CALL(0),
    [SYS_utime] = CALL(FIRST | SECOND),
    [SYS_getdents64] = CALL(SECOND),
};

static long address_if(long value, int is_address)
{
    return is_address ? (long)toro_shared_address((void *)value) : value;
}

static long kernel_call(long number, long a, long b, long c)
{
    unsigned addresses = (unsigned long)number < sizeof calls ? calls[number] : 0;
    if (!addresses)
        return -ENOSYS;
    return toro_kernel_call(number, address_if(a, addresses & FIRST), address_if(b, addresses & SECOND),
                            address_if(c, addresses & THIRD));
}

/* readv and writev. */
static long vector_call(long number, long file, const struct iovec *parts, long count)
{
    long done = 0;
    for (long i = 0; i < count; i++) {
        if (!parts[i].iov_len)
            continue;
        long part = kernel_call(number, file, (long)parts[i].iov_base, parts[i].iov_len);
        if (part < 0)
            return done ? done : part;
        done += part;
        if ((size_t)part < parts[i].iov_len)
            break;
    }
    return done;
}

static long map(size_t size, long flags)
{
    if (!(flags & MAP_ANONYMOUS))
        return -ENOSYS;
    void *memory = toro_aligned_memory(size, 4096);
    return memory ? (long)memset(memory, 0, size) : -ENOMEM;
}

/* A program that raises a signal, as abort does, means its end. */
static void end_by(int signal)
{
    fprintf(stderr, "rank %d: ended by signal %d (%s)\n", toro_core_index(), signal, strsignal(signal));
    toro_end_all(STATUS_SIGNAL + signal);
}

static struct timeval time_since_start(void)
{
    uint64_t now = toro_monotonic_ns();
    return (struct timeval){now / 1000000000, now % 1000000000 / 1000};
}

static long allowed_cores(unsigned char *set, size_t size)
{
    size_t bytes = (toro_core_count() + 63) / 64 * 8;
    if (size < bytes)
        return -EINVAL;
    memset(set, 0, bytes);
    for (int core = 0; core < toro_core_count(); core++)
        set[core / 8] |= 1 << core % 8;
    return bytes;
}

static long name_system(struct utsname *name)
{
    *name = (struct utsname){.sysname = "Toro", .nodename = "toro", .release = "1", .version = "1", .machine = "x86_64"};
    return 0;
}

long toro_call(long number, long a, long b, long c, long d)
{
    switch (number) {
    case SYS_arch_prctl:
        if (a != SET_FS)
            return -EINVAL;
        /* No other thread of this core is one of C, so nobody has to save it. */
        __asm__ volatile("wrfsbase %0" : : "r"(b));
        return 0;
    case SYS_set_tid_address:
    case SYS_gettid:
    case SYS_getpid:
        return toro_core_index() + 1;
    case SYS_getppid:
    case SYS_rt_sigaction: /* there are no signals */
    case SYS_rt_sigprocmask:
    case SYS_futex: /* and no other threads */
    case SYS_madvise:
    case SYS_membarrier:
        return 0;
    case SYS_kill:
    case SYS_tkill:
        if (b)
            end_by(b);
        return 0;
    case SYS_exit:
    case SYS_exit_group:
        mpi_leave(a);
        toro_end_rank(a);
    case SYS_brk: /* the heap is all that there is */
        return 0;
    case SYS_mmap:
        return map(b, d);
    case SYS_munmap:
        toro_release((void *)a);
        return 0;
    case SYS_readv:
        return vector_call(SYS_read, a, (const struct iovec *)b, c);
    case SYS_writev:
        return vector_call(SYS_write, a, (const struct iovec *)b, c);
    case SYS_getrusage:
        *(struct rusage *)b = (struct rusage){.ru_utime = time_since_start()};
        return 0;
    case SYS_prlimit64:
        if (d)
            *(struct rlimit *)d = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
        return c ? -EPERM : 0;
    case SYS_getrlimit:
        *(struct rlimit *)b = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
        return 0;
    case SYS_sysinfo: /* how much memory there is, is not told */
        *(struct sysinfo *)a = (struct sysinfo){.uptime = time_since_start().tv_sec, .procs = 1, .mem_unit = 1};
        return 0;
    case SYS_newfstatat:
        if (d & AT_EMPTY_PATH)
            return kernel_call(SYS_fstat, a, c, 0);
        return a == AT_FDCWD ? kernel_call(d & AT_SYMLINK_NOFOLLOW ? SYS_lstat : SYS_stat, b, c, 0) : -ENOSYS;
    case SYS_sched_getaffinity: /* whose bits sysconf counts */
        return allowed_cores((unsigned char *)c, b);
    case SYS_uname:
        return name_system((struct utsname *)a);
    case SYS_ioctl:
        if (b == TIOCGWINSZ) { /* what musl asks to find out whether stdout is a terminal */
            long result = kernel_call(number, a, TCGETS, c);
            if (!result)
                *(struct winsize *)c = (struct winsize){.ws_row = 24, .ws_col = 80};
            return result;
        }
        return kernel_call(number, a, b, c);
    case SYS_clock_nanosleep:
        return b ? -ENOSYS : kernel_call(SYS_nanosleep, c, d, 0);
    case SYS_poll: /* without descriptors: a sleep */
        if (b || c < 0)
            return -ENOSYS;
        return kernel_call(SYS_nanosleep, (long)&(struct timespec){c / 1000, c % 1000 * 1000000}, 0, 0);
    default:
        return kernel_call(number, a, b, c);
    }
}

/* Like the instruction, changes RAX alone, which holds the number and then the result. RCX, R11
 * and the flags may change as well. */
__asm__(".text\n.globl toro_syscall\n.type toro_syscall, @function\n"
        "toro_syscall:\n"
        "   push %rbp\n mov %rsp, %rbp\n"
        "   push %rdi\n push %rsi\n push %rdx\n push %r8\n push %r9\n push %r10\n"
        "   sub $512, %rsp\n and $-16, %rsp\n fxsave64 (%rsp)\n"
        "   mov %r10, %r8\n mov %rdx, %rcx\n mov %rsi, %rdx\n mov %rdi, %rsi\n mov %rax, %rdi\n"
        "   call toro_call\n"
        "   fxrstor64 (%rsp)\n lea -48(%rbp), %rsp\n"
        "   pop %r10\n pop %r9\n pop %r8\n pop %rdx\n pop %rsi\n pop %rdi\n pop %rbp\n ret\n");
