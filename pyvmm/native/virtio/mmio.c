/* The MMIO transport of virtio, version 2 (virtio 1.2, section 4.2).
 *
 * Registers are served here, in vCPU threads without the GIL, under one lock; life.c has
 * what follows from a write to Status or QueueReady.
 *
 * Not all drivers keep the specification's order: an existing Toro sets FEATURES_OK and
 * DRIVER_OK at once, or only the latter, and sets up its queues before either.  So
 * queues may be set up at any time before DRIVER_OK.  Enforced are that features are
 * among those offered and fixed by FEATURES_OK or DRIVER_OK, and that an enabled queue
 * does not change. */
#include "virtio/parts.h"
#include "host.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAGIC 0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR 0x6d6d7670 /* "pvmm" */
#define NO_SHARED_MEMORY 0xffffffffu

#define KICKS 256              /* notifications of a queue before it gets an ioeventfd */
#define ALL_SLOTS (4ull << 30) /* the most bytes of RAM for which all slots are made first */

void virtio_mmio_init(struct virtio_mmio *mmio, uint32_t device_id, uint64_t features,
                      int irq_fd)
{
    memset(mmio, 0, sizeof *mmio);
    pthread_mutex_init(&mmio->lock, NULL);
    mmio->device_id = device_id;
    mmio->device_features = features;
    mmio->irq_fd = irq_fd;
    mmio->vm_fd = -1;
    pthread_mutex_init(&mmio->line_lock, NULL);
}

/* Adds the device's next queue; returns its number, or -1. */
int virtio_mmio_add_queue(struct virtio_mmio *mmio, struct queue *queue, int kick_fd)
{
    struct virtio_mmio_queue *added;

    if (mmio->queue_count == VIRTIO_MMIO_QUEUES)
        return -1;
    added = &mmio->queue[mmio->queue_count];
    added->queue = queue;
    added->kick_fd = kick_fd;
    added->size = queue->size_max;
    return (int)mmio->queue_count++;
}

/* Replaces the configuration space, at most 256 bytes, and interrupts a driver that
 * uses the device. */
void virtio_mmio_set_config(struct virtio_mmio *mmio, const uint8_t *data, uint32_t size)
{
    bool tell;

    if (size > sizeof mmio->config)
        size = sizeof mmio->config;
    pthread_mutex_lock(&mmio->lock);
    memcpy(mmio->config, data, size);
    mmio->config_size = size;
    mmio->config_generation++;
    tell = virtio_mmio_hears_of_changes(mmio);
    pthread_mutex_unlock(&mmio->lock);
    if (tell)
        virtio_mmio_raise(mmio, VIRTIO_MMIO_INT_CONFIG);
}

/* ---- registers -------------------------------------------------------------------------- */

static struct virtio_mmio_queue *selected(struct virtio_mmio *mmio)
{
    return mmio->queue_sel < mmio->queue_count ? &mmio->queue[mmio->queue_sel] : NULL;
}

static uint32_t read_register(struct virtio_mmio *mmio, uint64_t offset)
{
    const struct virtio_mmio_queue *queue = selected(mmio);
    uint32_t status;

    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return mmio->device_id;
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        mmio->features_read = true;
        return mmio->device_features_sel > 1
                   ? 0
                   : (uint32_t)(mmio->device_features >> 32 * mmio->device_features_sel);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return queue ? queue->queue->size_max : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return queue && queue->ready;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        status = virtio_mmio_interrupt_status(mmio);
        /* An irqfd raised by a backend carries no cause. */
        if (mmio->used_elsewhere && !virtio_mmio_has_line(mmio))
            status |= VIRTIO_MMIO_INT_VRING;
        return status;
    case VIRTIO_MMIO_STATUS:
        return mmio->status;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
        return NO_SHARED_MEMORY;
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return mmio->config_generation;
    default: /* write-only, or reserved */
        return 0;
    }
}

static void set_half(uint64_t *value, bool high, uint32_t half)
{
    *value = high ? (*value & 0xffffffff) | (uint64_t)half << 32
                  : (*value & ~0xffffffffull) | half;
}

/* Returns false if the device must be paused for the change. */
static bool write_ready(struct virtio_mmio *mmio, bool ready)
{
    struct virtio_mmio_queue *queue = selected(mmio);

    if (!queue)
        return true;
    switch (mmio->state) {
    case VIRTIO_MMIO_SET_UP:
        if (!virtio_mmio_set_ready(mmio, queue, ready)) {
            mmio->state = VIRTIO_MMIO_BROKEN;
            mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        }
        return true;
    case VIRTIO_MMIO_STARTING:
    case VIRTIO_MMIO_RUNNING:
        queue->change_due = true;
        queue->change_to = ready;
        return false;
    case VIRTIO_MMIO_BROKEN:
        break;
    }
    return true;
}

static void set_up_queue(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct virtio_mmio_queue *queue = selected(mmio);

    if (!queue || queue->ready)
        return; /* fixed while the queue is enabled */
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        /* A size that is too large is detected when the queue is enabled. */
        queue->size = value > UINT16_MAX ? 0 : (uint16_t)value;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_half(&queue->desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_half(&queue->avail, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_half(&queue->used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
    }
}

static void accept_features(struct virtio_mmio *mmio, uint32_t value)
{
    if (mmio->status & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK) ||
        mmio->driver_features_sel > 1)
        return;
    set_half(&mmio->driver_features, mmio->driver_features_sel == 1, value);
}

/* Returns false if the device must be started, or stopped for a reset. */
static bool write_status(struct virtio_mmio *mmio, uint32_t value)
{
    uint32_t added = value & STATUS_OF_DRIVER & ~mmio->status;

    if (!value) {
        mmio->reset_due = mmio->state == VIRTIO_MMIO_RUNNING;
        if (!mmio->reset_due)
            virtio_mmio_clear(mmio);
        return !mmio->reset_due;
    }
    if (mmio->driver_features & ~mmio->device_features)
        added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK; /* section 3.1.1, step 6 */
    mmio->status |= added;
    if (!(added & VIRTIO_CONFIG_S_DRIVER_OK) || mmio->state != VIRTIO_MMIO_SET_UP)
        return true;
    mmio->state = VIRTIO_MMIO_STARTING;
    return false;
}

/* Returns false to have Python serve the write too. */
static bool write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    if (mmio->reset_due && offset != VIRTIO_MMIO_INTERRUPT_ACK)
        return true; /* writes before Status reads 0 are lost */
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        mmio->device_features_sel = value;
        return true;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        accept_features(mmio, value);
        return true;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        mmio->driver_features_sel = value;
        return true;
    case VIRTIO_MMIO_QUEUE_SEL:
        mmio->queue_sel = value;
        return true;
    case VIRTIO_MMIO_QUEUE_READY:
        return write_ready(mmio, value);
    case VIRTIO_MMIO_INTERRUPT_ACK:
        virtio_mmio_acknowledge(mmio, value);
        return true;
    case VIRTIO_MMIO_STATUS:
        return write_status(mmio, value);
    default:
        set_up_queue(mmio, offset, value);
        return true;
    }
}

static void read_config(struct virtio_mmio *mmio, uint64_t at, uint8_t *data, uint32_t size)
{
    memset(data, 0, size);
    if (at < mmio->config_size)
        memcpy(data, mmio->config + at,
               size < mmio->config_size - at ? size : mmio->config_size - at);
}

/* ---- notifications -------------------------------------------------------------------------- */

/* On a KVM without hardware support a notification costs a guest 63 us as an exit, and
 * 21 us by an ioeventfd.  But a VM with an ioeventfd takes 15 ms more to end, and each
 * memory slot made later costs 5 ms.  So only a queue that is notified often gets one, by
 * the control thread: KICKS exits cost about as much.
 *
 * Called without the lock: a backend that has the eventfd too can make the write block,
 * which stops only this vCPU, until vcpu_stop(). */
static bool notify(struct virtio_mmio *mmio, uint32_t index)
{
    struct virtio_mmio_queue *queue;

    if (index >= mmio->queue_count)
        return true;
    queue = &mmio->queue[index];
    event_raise(queue->kick_fd);
    return atomic_fetch_add(&queue->kicks, 1) + 1 != KICKS;
}

/* Makes KVM deliver a queue's notifications without exits.  `address` is that of
 * QueueNotify. */
void virtio_mmio_deliver(struct virtio_mmio *mmio, struct slots *slots, uint64_t address, uint32_t index)
{
    struct kvm_ioeventfd request = {
        .addr = address, .len = sizeof index, .datamatch = index, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };
    uint64_t size = 0;

    if (index >= mmio->queue_count)
        return;
    request.fd = mmio->queue[index].kick_fd;
    for (uint32_t i = 0; i < slots->ram->count; i++)
        size += slots->ram->region[i].size;
    if (size <= ALL_SLOTS && slots_cover_all(slots) < 0)
        return;
    ioctl(slots->vm_fd, KVM_IOEVENTFD, &request); /* or notifications remain exits */
}

/* The bus handler.  Registers are 32 bits wide and aligned; the configuration
 * space, which is read-only here, has fields of any width. */
bool virtio_mmio_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset,
                        uint8_t *data, uint32_t size, uint32_t count)
{
    struct virtio_mmio *mmio = device;
    bool is_register = size == 4 && offset % 4 == 0, settled = true;
    uint32_t value = 0;

    (void)vcpu, (void)count;
    if (write && is_register)
        memcpy(&value, data, sizeof value);
    if (write && is_register && offset == VIRTIO_MMIO_QUEUE_NOTIFY)
        return notify(mmio, value);
    pthread_mutex_lock(&mmio->lock);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (!write)
            read_config(mmio, offset - VIRTIO_MMIO_CONFIG, data, size);
    } else if (!is_register) {
        if (!write)
            memset(data, 0, size);
        settled = mmio->complained;
        mmio->complained = true;
    } else if (write) {
        settled = write_register(mmio, offset, value);
    } else {
        value = read_register(mmio, offset);
        memcpy(data, &value, sizeof value);
    }
    pthread_mutex_unlock(&mmio->lock);
    return settled;
}
