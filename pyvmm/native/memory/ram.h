/* The guest's RAM: ranges of guest-physical addresses and their host addresses. */
#ifndef PYVMM_MEMORY_RAM_H
#define PYVMM_MEMORY_RAM_H

#include <stdint.h>

#include "python.h"

#define RAM_MAX (1ull << 39) /* bytes */
#define RAM_REGIONS 2 /* below the 32-bit MMIO hole, and from 4 GiB on */
#define RAM_HOLE_START 0xc0000000ull
#define RAM_HOLE_END 0x100000000ull

struct ram {
    uint32_t count;
    struct {
        uint64_t start, size;
        uint8_t *host;
    } region[RAM_REGIONS];
};

void ram_add(struct ram *ram, uint64_t start, uint64_t size, uint8_t *host);
PYTHON void ram_lay_out(struct ram *ram, uint64_t size, uint8_t *host);
uint8_t *ram_at(const struct ram *ram, uint64_t address, uint64_t length);

#endif
