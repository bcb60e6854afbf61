/* Memory slots: the parts of the guest's RAM that KVM knows. */
#ifndef PYVMM_MEMORY_SLOTS_H
#define PYVMM_MEMORY_SLOTS_H

#include <pthread.h>
#include <stdbool.h>

#include "memory/ram.h"

#define SLOTS_A_STEP 8                 /* slots of one size before the size doubles */
#define SLOTS_FULL (13 * SLOTS_A_STEP) /* from then on they have the maximum size */
#define SLOTS_MAX (2 * SLOTS_FULL + RAM_REGIONS)

struct slots {
    pthread_mutex_t lock;
    int vm_fd;
    const struct ram *ram;
    uint32_t count;
    struct {
        uint64_t start, end;
    } slot[SLOTS_MAX];
};

PYTHON void slots_init(struct slots *slots, int vm_fd, const struct ram *ram);
PYTHON void slots_add(struct slots *slots, uint64_t start, uint64_t end);
PYTHON bool slots_choose(const struct slots *slots, uint64_t address, uint64_t *start,
                         uint64_t *end);
PYTHON uint64_t slots_end(const struct slots *slots, uint64_t address);
PYTHON int slots_cover(struct slots *slots, uint64_t address);
PYTHON int slots_cover_all(struct slots *slots);

#endif
