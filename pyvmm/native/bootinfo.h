/* The boot-info block (docs/boot-protocol.md), as far as C fills it in. */
#ifndef PYVMM_BOOTINFO_H
#define PYVMM_BOOTINFO_H

#include <stdint.h>

#include "python.h"

#define BOOT_INFO_MAGIC 0x6f726f54 /* "Toro" */
#define BOOT_INFO_VERSION 3

PYTHON struct boot_info {
    uint32_t magic, version, size, cpu_count;
    uint64_t tsc_hz, wall_clock_ns, wall_clock_tsc, command_line;
    uint32_t command_line_size, memory_map_count;
    uint64_t memory_map, devices;
    uint32_t device_count, console_vector;
    uint64_t cpu_areas, cpu_area_size;
    uint32_t supervisor_size, stack_size;
    uint64_t flags;
    uint32_t shutdown_vector, generation_vector;
    uint64_t generation;
    uint64_t marks[16];
    uint8_t random[32];
};

#endif
