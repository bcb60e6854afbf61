/* A VM made before its guest is known. */
#ifndef PYVMM_EARLY_H
#define PYVMM_EARLY_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/ram.h"

#define EARLY_SLOT (128ull << 20) /* bytes of slot 0 */
#define EARLY_ROOM RAM_MAX        /* bytes mapped for RAM */

#define EARLY_PINS 24             /* of the user-space IOAPIC */
#define EARLY_TSS 0xfffbd000ul    /* for KVM_SET_TSS_ADDR */

PYTHON struct early {
    int kvm_fd, vm_fd, memory_fd, vcpu_fd; /* in the order in which they are opened */
    uint8_t *host;                         /* host address of the memfd's mapping */
    int cpus; /* vCPU 0 has the CPUID of a machine with so many vCPUs; 0: it has none */
};

PYTHON bool early_make(struct early *early);
PYTHON void early_start(void (*first)(void));
PYTHON bool early_take(struct early *early);
PYTHON void early_discard(struct early *early);

#endif
