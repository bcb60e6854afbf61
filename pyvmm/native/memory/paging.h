/* Page tables for a guest that starts with paging on. */
#ifndef PYVMM_MEMORY_PAGING_H
#define PYVMM_MEMORY_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "python.h"

struct paging {
    uint8_t *ram;           /* host address of guest-physical 0 */
    uint64_t next, end;     /* the arena that tables are taken from */
    uint64_t root;          /* guest-physical address of the PML4, for CR3 */
    bool gigabyte_pages;    /* CPUID.80000001H:EDX[26] */
};

PYTHON int paging_init(struct paging *paging, uint8_t *ram, uint64_t arena,
                       uint64_t arena_end, bool gigabyte_pages);
PYTHON int paging_map(struct paging *paging, uint64_t start, uint64_t end, uint64_t flags);

#endif
