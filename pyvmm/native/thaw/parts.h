/* The steps of a thaw.  Each returns false, with the reason in the machine, if it fails. */
#ifndef PYVMM_THAW_PARTS_H
#define PYVMM_THAW_PARTS_H

#include "machine.h"

#include <errno.h>

/* Records the call that has failed, with errno, and of which vCPU (-1: of none). */
static inline bool thaw_failed(struct machine *m, const char *call, int cpu)
{
    m->failed = call;
    m->error = errno;
    m->failed_cpu = cpu;
    return false;
}

/* An ioctl of the machine `m`, which it names if it fails. */
#define THAW_IOCTL(m, fd, request, argument, cpu) \
    (ioctl(fd, request, argument) >= 0 || thaw_failed(m, #request, cpu))

/* memory.c */
bool thaw_memory(struct machine *m, const struct state *state, bool shared);

/* vcpus.c */
bool thaw_vcpus(struct machine *m, const struct state *state, size_t run_size);

#endif
