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

/* Adds a range; there are no more than RAM_REGIONS. */
void ram_add(struct ram *ram, uint64_t start, uint64_t size, uint8_t *host)
{
    ram->region[ram->count].start = start;
    ram->region[ram->count].size = size;
    ram->region[ram->count].host = host;
    ram->count++;
}

/* Lays out `size` bytes of RAM, contiguous at `host`, below and above the hole. */
void ram_lay_out(struct ram *ram, uint64_t size, uint8_t *host)
{
    uint64_t low = size < RAM_HOLE_START ? size : RAM_HOLE_START;

    ram->count = 0;
    ram_add(ram, 0, low, host);
    if (size > low)
        ram_add(ram, RAM_HOLE_END, size - low, host + low);
}
