/* The host CPU of each vCPU. */
#ifndef PYVMM_PIN_H
#define PYVMM_PIN_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#include "python.h"

/* A set of host CPUs, of which the kernel may have more than CPU_SETSIZE. */
struct cpus {
    cpu_set_t *set; /* to be freed by CPU_FREE() */
    size_t size;
};

PYTHON enum pin_result {
    PIN_READ,
    PIN_NO_LIST,     /* neither `auto` nor a list */
    PIN_NOT_ALLOWED, /* of `detail`, a CPU that this process may not use */
    PIN_TOO_FEW,     /* there are `detail` CPUs in it */
};

struct cpus cpus_one(int cpu);
struct cpus cpus_share(uint32_t index, uint32_t vcpus);
PYTHON enum pin_result pin_read(const char *text, uint32_t cpus, int *pins, uint32_t *detail);

#endif
