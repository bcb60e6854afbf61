/* What a virtio device's transport remembers in a State (docs/frozen-format.md). */
#include "virtio/parts.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

_Static_assert(VIRTIO_MMIO_QUEUES == 16, "struct virtio_mmio_saved");
_Static_assert(sizeof(struct virtio_mmio_saved) == 688, "docs/frozen-format.md");

/* The vCPUs and the device must be paused. */
void virtio_mmio_save(struct virtio_mmio *mmio, struct virtio_mmio_saved *state)
{
    pthread_mutex_lock(&mmio->lock);
    *state = (struct virtio_mmio_saved){
        .device_id = mmio->device_id, .queue_count = mmio->queue_count,
        .driver_features = mmio->driver_features,
        .device_features_sel = mmio->device_features_sel,
        .driver_features_sel = mmio->driver_features_sel,
        .queue_sel = mmio->queue_sel, .status = mmio->status,
        .interrupt_status = virtio_mmio_interrupt_status(mmio),
        .config_generation = mmio->config_generation,
        .runs = mmio->state == VIRTIO_MMIO_STARTING || mmio->state == VIRTIO_MMIO_RUNNING,
        .features_read = mmio->features_read,
    };
    for (uint32_t i = 0; i < mmio->queue_count; i++) {
        const struct virtio_mmio_queue *queue = &mmio->queue[i];

        state->queue[i] = (struct virtio_queue_saved){
            .desc = queue->desc, .avail = queue->avail, .used = queue->used, .size = queue->size,
            .next_avail = queue->queue->next_avail, .next_used = queue->queue->next_used,
            .signalled_used = queue->queue->signalled_used, .ready = queue->ready,
        };
    }
    pthread_mutex_unlock(&mmio->lock);
}

/* Makes a new transport what a saved one was; virtio_mmio_next() then starts its device.
 * With `needs_reset` a device that ran is broken instead.  Returns false if it is not
 * what this device can have been; a queue whose rings are bad breaks it. */
bool virtio_mmio_restore(struct virtio_mmio *mmio, const struct virtio_mmio_saved *state,
                         bool needs_reset)
{
    uint32_t reasons = state->interrupt_status & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
    bool broken = state->status & VIRTIO_CONFIG_S_NEEDS_RESET;

    if (state->device_id != mmio->device_id || state->queue_count != mmio->queue_count ||
        state->driver_features & ~mmio->device_features)
        return false;
    pthread_mutex_lock(&mmio->lock);
    mmio->driver_features = state->driver_features;
    mmio->device_features_sel = state->device_features_sel;
    mmio->driver_features_sel = state->driver_features_sel;
    mmio->queue_sel = state->queue_sel;
    mmio->status = state->status & STATUS_OF_DRIVER;
    mmio->config_generation = state->config_generation + 1;
    mmio->features_read = state->features_read;
    for (uint32_t i = 0; i < mmio->queue_count; i++) {
        const struct virtio_queue_saved *from = &state->queue[i];
        struct virtio_mmio_queue *queue = &mmio->queue[i];

        queue->size = from->size;
        queue->desc = from->desc;
        queue->avail = from->avail;
        queue->used = from->used;
        if (!from->ready)
            continue;
        broken |= !virtio_mmio_set_ready(mmio, queue, true);
        queue->queue->next_avail = from->next_avail;
        queue->queue->next_used = from->next_used;
        queue->queue->signalled_used = from->signalled_used;
    }
    broken |= state->runs && needs_reset;
    if (broken) {
        mmio->state = VIRTIO_MMIO_BROKEN;
        mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        reasons |= virtio_mmio_hears_of_changes(mmio) ? VIRTIO_MMIO_INT_CONFIG : 0;
    } else if (state->runs) {
        mmio->state = VIRTIO_MMIO_STARTING;
    }
    pthread_mutex_unlock(&mmio->lock);
    if (reasons)
        virtio_mmio_raise(mmio, reasons);
    return true;
}
