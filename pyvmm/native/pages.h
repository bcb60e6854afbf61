/* Which pages of a guest's memory are not zero. */
#ifndef PYVMM_PAGES_H
#define PYVMM_PAGES_H

#include "memory/ram.h"
#include "state.h"

PYTHON int pages_prepare(void);
PYTHON int pages_find(const struct ram *ram, int memory_fd, uint64_t end, struct state_run *runs,
                      uint32_t most);

#endif
