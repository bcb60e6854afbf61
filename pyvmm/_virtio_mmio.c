/* The MMIO transport of virtio, version 2 (virtio 1.2, section 4.2).
 *
 * All registers are served here, without the GIL.  Python is asked for what a
 * device must know of before the driver goes on: a write to Status that resets
 * or starts it, one to QueueReady while it runs, and the first access that no
 * driver makes, which is logged.
 *
 * The order is the driver's to keep, and some do not: an existing Toro sets
 * FEATURES_OK and DRIVER_OK at once or only the latter, and sets up its queues
 * before either.  So queues may be set up at any time before DRIVER_OK; what is
 * enforced is that features are those offered and fixed by FEATURES_OK, and that
 * a queue does not change while it is ready. */
#include "_virtio_mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAGIC 0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR 0x6d6d7670 /* "pvmm" */
#define NO_SHARED_MEMORY 0xffffffffu

#define KICKS 256              /* of a queue, before it gets an ioeventfd */
#define ALL_SLOTS (4ull << 30) /* bytes of RAM whose slots are all made before one */

#define STATUS_OF_DRIVER                                              \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |           \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

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

/* Gives the device its next queue; returns its number, or -1. */
int virtio_mmio_add_queue(struct virtio_mmio *mmio, struct queue *queue, int kick_fd)
{
    if (mmio->queue_count == VIRTIO_MMIO_QUEUES)
        return -1;
    mmio->queue[mmio->queue_count] = queue;
    mmio->kick_fd[mmio->queue_count] = kick_fd;
    return (int)mmio->queue_count++;
}

/* Tells the driver that used rings have new entries. */
void virtio_mmio_interrupt(struct virtio_mmio *mmio)
{
    virtio_mmio_raise(mmio, VIRTIO_MMIO_INT_VRING);
}

/* Tells the driver that the configuration or NEEDS_RESET has changed.  Those of existing
 * Toro kernels never acknowledge such an interrupt, and a line would stay high for ever:
 * they are known by not knowing version 1, or not looking at what the device offers. */
static void tell_of_change(struct virtio_mmio *mmio)
{
    if (mmio->status & VIRTIO_CONFIG_S_DRIVER_OK && mmio->features_read &&
        mmio->driver_features & 1ull << VIRTIO_F_VERSION_1)
        virtio_mmio_raise(mmio, VIRTIO_MMIO_INT_CONFIG);
}

static void break_device(struct virtio_mmio *mmio)
{
    mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    tell_of_change(mmio);
}

/* The device cannot go on before the driver resets it (section 2.1.2). */
void virtio_mmio_needs_reset(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->lock);
    break_device(mmio);
    pthread_mutex_unlock(&mmio->lock);
}

/* Replaces the configuration space by at most 256 bytes, and tells a driver that
 * runs. */
void virtio_mmio_set_config(struct virtio_mmio *mmio, const uint8_t *data, uint32_t size)
{
    if (size > sizeof mmio->config)
        size = sizeof mmio->config;
    pthread_mutex_lock(&mmio->lock);
    memcpy(mmio->config, data, size);
    mmio->config_size = size;
    mmio->config_generation++;
    tell_of_change(mmio);
    pthread_mutex_unlock(&mmio->lock);
}

/* Everything as the driver found it first, once the device itself has stopped. */
void virtio_mmio_reset(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->lock);
    for (uint32_t i = 0; i < mmio->queue_count; i++)
        queue_reset(mmio->queue[i]);
    mmio->driver_features = 0;
    mmio->device_features_sel = mmio->driver_features_sel = mmio->queue_sel = 0;
    mmio->status = 0;
    mmio->used_elsewhere = mmio->features_read = false;
    virtio_mmio_forget_interrupts(mmio);
    pthread_mutex_unlock(&mmio->lock);
}

static struct queue *selected(struct virtio_mmio *mmio)
{
    return mmio->queue_sel < mmio->queue_count ? mmio->queue[mmio->queue_sel] : NULL;
}

static uint32_t read_register(struct virtio_mmio *mmio, uint64_t offset)
{
    const struct queue *queue = selected(mmio);
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
        return queue ? queue->size_max : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return queue && queue->enabled;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        status = virtio_mmio_interrupt_status(mmio);
        /* Who interrupts from elsewhere does not tell why. */
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

static void set_ready(struct virtio_mmio *mmio, uint32_t value)
{
    struct queue *queue = selected(mmio);
    uint64_t features = mmio->driver_features & mmio->device_features;

    if (!queue)
        return;
    if (!value) {
        queue_reset(queue);
    } else if (!queue->enabled && !queue->error) {
        queue->event_idx = features & 1ull << VIRTIO_RING_F_EVENT_IDX;
        queue->indirect = features & 1ull << VIRTIO_RING_F_INDIRECT_DESC;
        if (queue_enable(queue) < 0)
            break_device(mmio);
    }
}

/* A write to QueueReady of a device that runs: called in the thread that uses
 * its queues. */
void virtio_mmio_set_ready(struct virtio_mmio *mmio, uint32_t value)
{
    pthread_mutex_lock(&mmio->lock);
    set_ready(mmio, value);
    pthread_mutex_unlock(&mmio->lock);
}

static void set_up_queue(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct queue *queue = selected(mmio);

    if (!queue || queue->enabled || queue->error)
        return; /* fixed until it is reset */
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        /* One that is too large is found out when the queue becomes ready. */
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
    if (mmio->status & VIRTIO_CONFIG_S_FEATURES_OK || mmio->driver_features_sel > 1)
        return;
    set_half(&mmio->driver_features, mmio->driver_features_sel == 1, value);
}

/* Returns false when the device must know: it is reset, or starts. */
static bool set_status(struct virtio_mmio *mmio, uint32_t value)
{
    uint32_t added = value & STATUS_OF_DRIVER & ~mmio->status;

    if (!value)
        return false; /* virtio_mmio_reset() comes when the device has stopped */
    if (mmio->driver_features & ~mmio->device_features)
        added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK; /* section 3.1.1, step 6 */
    mmio->status |= added;
    return !(added & VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Has KVM tell of a queue's notifications by itself.  `address` is that of
 * QueueNotify. */
static void make_ioeventfd(struct slots *slots, uint64_t address, int fd, uint32_t queue)
{
    struct kvm_ioeventfd request = {
        .addr = address, .len = sizeof queue, .fd = fd,
        .datamatch = queue, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };
    uint64_t size = 0;

    for (uint32_t i = 0; i < slots->ram->count; i++)
        size += slots->ram->region[i].size;
    if (size <= ALL_SLOTS && slots_cover_all(slots) < 0)
        return;
    if (ioctl(slots->vm_fd, KVM_IOEVENTFD, &request) < 0)
        return; /* notifications go on as exits */
}

/* A notification costs a guest 63 us as an exit on a KVM without hardware support, and
 * 21 us by an ioeventfd.  But with one, a VM younger than 15 ms takes as long to end,
 * and each memory slot made later costs 5 ms.  So only a queue that is notified often
 * gets one: KICKS exits take a guest as long as that. */
static void notify(struct virtio_mmio *mmio, struct vcpu *vcpu, uint32_t queue)
{
    if (queue >= mmio->queue_count)
        return;
    event_raise(mmio->kick_fd[queue]);
    if (++mmio->kicks[queue] == KICKS && vcpu && vcpu->bus->slots)
        make_ioeventfd(vcpu->bus->slots, vcpu->address, mmio->kick_fd[queue], queue);
}

static bool write_register(struct virtio_mmio *mmio, struct vcpu *vcpu, uint64_t offset,
                           uint32_t value)
{
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
        if (mmio->status & VIRTIO_CONFIG_S_DRIVER_OK)
            return false; /* the device may be using it */
        set_ready(mmio, value);
        return true;
    case VIRTIO_MMIO_QUEUE_NOTIFY:
        notify(mmio, vcpu, value);
        return true;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        virtio_mmio_acknowledge(mmio, value);
        return true;
    case VIRTIO_MMIO_STATUS:
        return set_status(mmio, value);
    default:
        set_up_queue(mmio, offset, value);
        return true;
    }
}

/* The bus handler.  Registers are 32 bits wide and aligned; the configuration
 * space, which is read-only here, has fields of any width. */
bool virtio_mmio_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset,
                        uint8_t *data, uint32_t size, uint32_t count)
{
    struct virtio_mmio *mmio = device;
    uint64_t in_config = offset - VIRTIO_MMIO_CONFIG;
    bool settled = true;
    uint32_t value = 0;

    (void)count;
    pthread_mutex_lock(&mmio->lock);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (!write) {
            memset(data, 0, size);
            if (in_config < mmio->config_size)
                memcpy(data, mmio->config + in_config,
                       size < mmio->config_size - in_config ? size : mmio->config_size - in_config);
        }
    } else if (size != 4 || offset % 4) {
        if (!write)
            memset(data, 0, size);
        settled = mmio->complained;
        mmio->complained = true;
    } else if (write) {
        memcpy(&value, data, sizeof value);
        settled = write_register(mmio, vcpu, offset, value);
    } else {
        value = read_register(mmio, offset);
        memcpy(data, &value, sizeof value);
    }
    pthread_mutex_unlock(&mmio->lock);
    return settled;
}
