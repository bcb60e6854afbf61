/* The bus: passes the access that an exit describes to the device that serves it. */
#include "bus.h"
#include "vcpu.h"

#include <errno.h>
#include <string.h>

void bus_init(struct bus *bus, const struct ram *ram, struct slots *slots, bool closed)
{
    memset(bus, 0, sizeof *bus);
    bus->ram = ram;
    bus->slots = slots;
    bus->closed = closed;
    sem_init(&bus->opened, 0, 0);
}

/* Has exits wait for bus_open().  No vCPU must run. */
void bus_close(struct bus *bus)
{
    bus->closed = true;
}

/* Lets accesses reach their devices, which are all there. */
void bus_open(struct bus *bus)
{
    atomic_store(&bus->closed, false);
    sem_post(&bus->opened);
}

/* Waits for bus_open().  Returns false if the vCPU is stopped. */
bool bus_wait(struct vcpu *vcpu)
{
    struct bus *bus = vcpu->bus;

    if (!atomic_load(&bus->closed))
        return true;
    while (sem_wait(&bus->opened) < 0)
        if (atomic_load(&vcpu->stop))
            return false;
    sem_post(&bus->opened); /* the next one */
    return true;
}

/* Adds a region.  Returns -1 with errno ENOSPC, or EEXIST if it overlaps another. */
int bus_add(struct bus *bus, bool mmio, uint64_t base, uint64_t size,
            bus_handler *handler, void *device)
{
    struct bus_region *regions = mmio ? bus->mmio : bus->pio;
    uint32_t *count = mmio ? &bus->mmio_count : &bus->pio_count;

    if (*count == BUS_REGIONS) {
        errno = ENOSPC;
        return -1;
    }
    for (uint32_t i = 0; i < *count; i++)
        if (base < regions[i].base + regions[i].size &&
            regions[i].base < base + size) {
            errno = EEXIST;
            return -1;
        }
    regions[(*count)++] = (struct bus_region){base, size, handler, device};
    return 0;
}

/* Replaces the handler of the region of ports that begins at `port`.  No vCPU must run. */
void bus_set_handler(struct bus *bus, uint64_t port, bus_handler *handler)
{
    for (uint32_t i = 0; i < bus->pio_count; i++)
        if (bus->pio[i].base == port)
            bus->pio[i].handler = handler;
}

static const struct bus_region *find_region(const struct vcpu *vcpu, bool mmio)
{
    const struct bus *bus = vcpu->bus;
    const struct bus_region *region = mmio ? bus->mmio : bus->pio;
    const struct bus_region *end = region + (mmio ? bus->mmio_count : bus->pio_count);

    for (; region < end; region++) {
        uint64_t offset = vcpu->address - region->base;
        if (offset < region->size && vcpu->size <= region->size - offset)
            return region;
    }
    return NULL;
}

/* An access to RAM that no slot covers: makes a slot, and performs this one access
 * itself.  If KVM refuses the slot, the vCPU ends. */
static bool ram_access(struct vcpu *vcpu, uint8_t *ram)
{
    if (slots_cover(vcpu->bus->slots, vcpu->address) < 0) {
        vcpu->error = errno;
        return false;
    }
    if (vcpu->write)
        memcpy(ram, vcpu->data, vcpu->size);
    else
        memcpy(vcpu->data, ram, vcpu->size);
    return true;
}

/* Serves the access described in `vcpu`, or returns false to leave it to
 * Python.  Addresses that no region claims read as all ones and ignore writes,
 * as on a bus where no device answers. */
bool bus_access(struct vcpu *vcpu, bool mmio)
{
    const struct bus_region *region;
    uint8_t *ram;

    if (mmio && vcpu->bus->slots &&
        (ram = ram_at(vcpu->bus->ram, vcpu->address, vcpu->size)))
        return ram_access(vcpu, ram);
    if (!bus_wait(vcpu))
        return true;
    region = find_region(vcpu, mmio);
    if (region && !region->handler)
        return false;
    if (region)
        return region->handler(region->device, vcpu, vcpu->write,
                               vcpu->address - region->base, vcpu->data,
                               vcpu->size, vcpu->count);
    if (!vcpu->write)
        memset(vcpu->data, 0xff, (size_t)vcpu->size * vcpu->count);
    return true;
}
