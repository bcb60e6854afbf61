/* The life of a virtio device on the MMIO transport.
 *
 * What concerns the device itself (start it, stop it, change a queue that it uses) is
 * only recorded by the vCPU threads; the control thread (the one in Machine.run) asks
 * virtio_mmio_next() what to do, does it, and reports that it is done.  So whatever
 * vCPUs write, in whatever order their exits are served, a device's life is one
 * sequence of steps, and each queue has one owner at a time. */
#include "virtio/parts.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

/* Whether to interrupt for a change of the configuration or of NEEDS_RESET.  Drivers of
 * existing Toro kernels never acknowledge such an interrupt, so a line would stay high;
 * they do not accept version 1, or never read the device's features. */
bool virtio_mmio_hears_of_changes(const struct virtio_mmio *mmio)
{
    return mmio->status & VIRTIO_CONFIG_S_DRIVER_OK && mmio->features_read &&
           mmio->driver_features & 1ull << VIRTIO_F_VERSION_1;
}

static void reset_queue(struct virtio_mmio_queue *queue)
{
    queue_reset(queue->queue);
    queue->size = queue->queue->size_max;
    queue->desc = queue->avail = queue->used = 0;
    queue->ready = queue->change_due = false;
}

/* Applies a write to QueueReady; the transport must own the queue.  Returns false if
 * the driver has set up an invalid queue. */
bool virtio_mmio_set_ready(struct virtio_mmio *mmio, struct virtio_mmio_queue *to, bool ready)
{
    uint64_t features = mmio->driver_features & mmio->device_features;
    struct queue *queue = to->queue;

    if (!ready) {
        reset_queue(to);
        return true;
    }
    if (to->ready)
        return true;
    queue->size = to->size;
    queue->desc = to->desc;
    queue->avail = to->avail;
    queue->used = to->used;
    queue->event_idx = features & 1ull << VIRTIO_RING_F_EVENT_IDX;
    queue->indirect = features & 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    to->ready = queue_enable(queue) == 0;
    return to->ready;
}

void virtio_mmio_clear(struct virtio_mmio *mmio)
{
    for (uint32_t i = 0; i < mmio->queue_count; i++)
        reset_queue(&mmio->queue[i]);
    mmio->driver_features = 0;
    mmio->device_features_sel = mmio->driver_features_sel = mmio->queue_sel = 0;
    mmio->status = 0;
    mmio->state = VIRTIO_MMIO_SET_UP;
    mmio->reset_due = mmio->used_elsewhere = mmio->features_read = false;
    virtio_mmio_forget_interrupts(mmio);
}

/* The next step that the control thread must take because of what the driver has
 * written.  With VIRTIO_MMIO_START the device owns its queues. */
enum virtio_mmio_step virtio_mmio_next(struct virtio_mmio *mmio)
{
    enum virtio_mmio_step step = VIRTIO_MMIO_SETTLED;

    pthread_mutex_lock(&mmio->lock);
    if (mmio->state == VIRTIO_MMIO_STARTING) {
        mmio->state = VIRTIO_MMIO_RUNNING;
        step = VIRTIO_MMIO_START;
    } else if (mmio->reset_due) {
        step = VIRTIO_MMIO_RESET;
    } else if (mmio->state == VIRTIO_MMIO_RUNNING) {
        for (uint32_t i = 0; i < mmio->queue_count; i++)
            if (mmio->queue[i].change_due)
                step = VIRTIO_MMIO_CHANGE;
    }
    pthread_mutex_unlock(&mmio->lock);
    return step;
}

/* Whether the device owns its queues; for the control thread. */
bool virtio_mmio_runs(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->lock);
    bool runs = mmio->state == VIRTIO_MMIO_RUNNING;
    pthread_mutex_unlock(&mmio->lock);
    return runs;
}

/* Applies writes to QueueReady; the device must be paused.  Returns the number of an
 * invalid queue, or -1. */
int virtio_mmio_change_queues(struct virtio_mmio *mmio)
{
    int bad = -1;

    pthread_mutex_lock(&mmio->lock);
    for (uint32_t i = 0; i < mmio->queue_count; i++) {
        struct virtio_mmio_queue *queue = &mmio->queue[i];
        if (queue->change_due && !virtio_mmio_set_ready(mmio, queue, queue->change_to))
            bad = (int)i;
        queue->change_due = false;
    }
    pthread_mutex_unlock(&mmio->lock);
    return bad;
}

/* Resets the transport, after the device has stopped for a reset by the driver. */
void virtio_mmio_reset(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->lock);
    virtio_mmio_clear(mmio);
    pthread_mutex_unlock(&mmio->lock);
}

/* Marks the device, which has stopped, as broken until the driver resets it (section
 * 2.1.2).  The driver may have done so already. */
void virtio_mmio_needs_reset(struct virtio_mmio *mmio)
{
    bool tell = false;

    pthread_mutex_lock(&mmio->lock);
    if (mmio->reset_due) {
        virtio_mmio_clear(mmio);
    } else {
        mmio->state = VIRTIO_MMIO_BROKEN;
        mmio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        tell = virtio_mmio_hears_of_changes(mmio);
    }
    pthread_mutex_unlock(&mmio->lock);
    if (tell)
        virtio_mmio_raise(mmio, VIRTIO_MMIO_INT_CONFIG);
}
