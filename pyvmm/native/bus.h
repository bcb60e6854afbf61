/* The bus: finds the device that serves a port or a guest-physical address. */
#ifndef PYVMM_BUS_H
#define PYVMM_BUS_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/slots.h"

struct vcpu;

/* Serves one access to a region.  `data` holds `count` values of `size` bytes
 * (count > 1 only for string I/O); a read fills it.  `offset` is relative to
 * the region, and offset + size is within it.  Returns false to have Python
 * serve the access too, before the vCPU continues. */
PYTHON typedef bool bus_handler(void *device, struct vcpu *vcpu, bool write,
                                uint64_t offset, uint8_t *data, uint32_t size,
                                uint32_t count);

/* A range of ports or of guest-physical addresses.  Python serves one without a
 * handler. */
struct bus_region {
    uint64_t base, size;
    bus_handler *handler;
    void *device;
};

#define BUS_REGIONS 64

/* Filled while it is closed, or before the first vCPU runs, and constant from then on:
 * no lock. */
struct bus {
    const struct ram *ram;
    struct slots *slots; /* NULL if all slots are made in advance */
    struct bus_region pio[BUS_REGIONS], mmio[BUS_REGIONS];
    uint32_t pio_count, mmio_count;
    atomic_bool closed; /* devices are missing, or threads not confined: exits wait for bus_open() */
    sem_t opened;
};

PYTHON void bus_init(struct bus *bus, const struct ram *ram, struct slots *slots, bool closed);
PYTHON void bus_close(struct bus *bus);
PYTHON void bus_open(struct bus *bus);
PYTHON int bus_add(struct bus *bus, bool mmio, uint64_t base, uint64_t size,
                   bus_handler *handler, void *device);
void bus_set_handler(struct bus *bus, uint64_t port, bus_handler *handler);
bool bus_wait(struct vcpu *vcpu);
bool bus_access(struct vcpu *vcpu, bool mmio);

#endif
