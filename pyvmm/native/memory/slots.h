/* Which of the guest's RAM KVM knows as memory. */
#ifndef PYVMM_MEMORY_SLOTS_H
#define PYVMM_MEMORY_SLOTS_H

#include <pthread.h>

#include "memory/ram.h"

#define SLOTS_MAX 128

struct slots {
    pthread_mutex_t lock;
    int vm_fd;
    const struct ram *ram;
    uint32_t count;
    struct {
        uint64_t start, end;
    } slot[SLOTS_MAX];
};

PYTHON void slots_init(struct slots *slots, int vm_fd, const struct ram *ram, uint64_t made);
PYTHON uint64_t slots_end(const struct slots *slots, uint64_t address);
PYTHON int slots_cover(struct slots *slots, uint64_t address);
PYTHON int slots_cover_all(struct slots *slots);

#endif
