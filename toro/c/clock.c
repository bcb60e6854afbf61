/* Clocks, without the way through a system call: programs measure with them. */
#include "toro.h"

#include <errno.h>
#include <time.h>

/* musl's own functions call it by this name. */
int __clock_gettime(clockid_t clock, struct timespec *time)
{
    static uint64_t start;
    uint64_t now;

    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        now = toro_unix_ns();
        break;
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID: /* since its first use */
        now = toro_monotonic_ns();
        start = start ? start : now;
        now -= start;
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        now = toro_monotonic_ns();
        break;
    default:
        errno = EINVAL;
        return -1;
    }
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) __attribute__((alias("__clock_gettime")));
