/* Translates guest-physical addresses to host addresses. */
#include "memory/ram.h"

#include <stddef.h>

/* The host address of RAM at guest-physical `address`, or NULL unless all of
 * [address, address + length) is in one range of it. */
uint8_t *ram_at(const struct ram *ram, uint64_t address, uint64_t length)
{
    for (uint32_t i = 0; i < ram->count; i++) {
        uint64_t offset = address - ram->region[i].start;
        if (offset < ram->region[i].size && length <= ram->region[i].size - offset)
            return ram->region[i].host + offset;
    }
    return NULL;
}

/* Adds a range.  layout.py has no more than RAM_REGIONS. */
void ram_add(struct ram *ram, uint64_t start, uint64_t size, uint8_t *host)
{
    ram->region[ram->count].start = start;
    ram->region[ram->count].size = size;
    ram->region[ram->count].host = host;
    ram->count++;
}
