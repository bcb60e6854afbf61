/* The device's side of a split virtqueue (virtio 1.2, section 2.7).
 *
 *     descriptor table   size × { address, length, flags, next }
 *     available ring     flags, idx, size × head, used_event    driver writes
 *     used ring          flags, idx, size × { head, written }, avail_event
 *
 * The driver may be hostile and may change all of it at any time.  So every
 * index, address and length is read from guest memory once, into a local variable,
 * which is then checked and used.  The first error breaks the queue until reset;
 * nothing outside the guest's RAM is ever touched.  idx counts modulo 2^16; the
 * ring's size is a power of 2. */
#include "virtio/queue.h"

#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

#define EVENT_SIZE sizeof(uint16_t) /* used_event, avail_event */

static uint16_t load16(const uint8_t *at)
{
    return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *at, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)at, value, __ATOMIC_RELEASE);
}

static uint8_t *avail_idx(const struct queue *queue)
{
    return queue->avail_at + offsetof(struct vring_avail, idx);
}

static uint8_t *used_idx(const struct queue *queue)
{
    return queue->used_at + offsetof(struct vring_used, idx);
}

static uint8_t *used_event(const struct queue *queue)
{
    return queue->avail_at + sizeof(struct vring_avail) + queue->size * sizeof(uint16_t);
}

static uint8_t *avail_event(const struct queue *queue)
{
    return queue->used_at + sizeof(struct vring_used) +
           queue->size * sizeof(struct vring_used_elem);
}

/* flags is the first field of both rings. */
static uint16_t avail_flags(const struct queue *queue)
{
    return load16(queue->avail_at);
}

static int broken(struct queue *queue, enum queue_error error)
{
    queue->error = error;
    return -1;
}

/* Initializes a queue of up to `size_max` (at most QUEUE_SIZE_MAX) entries to its
 * state after reset. */
void queue_init(struct queue *queue, const struct ram *ram, uint16_t size_max)
{
    queue->ram = ram;
    queue->size_max = size_max;
    queue_reset(queue);
}

void queue_reset(struct queue *queue)
{
    *queue = (struct queue){
        .ram = queue->ram, .size_max = queue->size_max, .size = queue->size_max,
    };
}

/* Takes over the rings that the driver has set up.  Returns -1, with queue->error
 * set, if they are invalid. */
int queue_enable(struct queue *queue)
{
    uint64_t size = queue->size, event = queue->event_idx ? EVENT_SIZE : 0;

    if (!size || size & (size - 1) || size > queue->size_max)
        return broken(queue, QUEUE_BAD_SIZE);
    if (queue->desc % 16 || queue->avail % 2 || queue->used % 4)
        return broken(queue, QUEUE_BAD_RINGS);
    queue->desc_at = ram_at(queue->ram, queue->desc, size * sizeof(struct vring_desc));
    queue->avail_at = ram_at(queue->ram, queue->avail,
                             sizeof(struct vring_avail) + size * 2 + event);
    queue->used_at = ram_at(queue->ram, queue->used,
                            sizeof(struct vring_used) +
                                size * sizeof(struct vring_used_elem) + event);
    if (!queue->desc_at || !queue->avail_at || !queue->used_at)
        return broken(queue, QUEUE_BAD_RINGS);
    queue->enabled = true;
    return 0;
}

/* The descriptor table that is being walked: the queue's own, or an indirect one. */
struct table {
    const uint8_t *at;
    uint32_t count;
    bool indirect;
};

/* Copies a descriptor, once. */
static struct vring_desc read_desc(const struct table *table, uint32_t index)
{
    struct vring_desc desc;

    memcpy(&desc, table->at + index * sizeof desc, sizeof desc);
    __asm__ volatile("" ::: "memory"); /* the compiler must not read it again */
    return desc;
}

static int enter_indirect(struct queue *queue, struct table *table,
                          const struct vring_desc *desc)
{
    if (!queue->indirect || table->indirect || desc->flags & VRING_DESC_F_NEXT ||
        !desc->len || desc->len % sizeof(struct vring_desc))
        return broken(queue, QUEUE_BAD_INDIRECT);
    table->at = ram_at(queue->ram, desc->addr, desc->len);
    if (!table->at)
        return broken(queue, QUEUE_BAD_INDIRECT);
    table->count = desc->len / sizeof(struct vring_desc);
    table->indirect = true;
    return 0;
}

static int add_buffer(struct queue *queue, struct chain *chain,
                      const struct vring_desc *desc)
{
    bool writable = desc->flags & VRING_DESC_F_WRITE;
    uint8_t *at;

    if (chain->count == queue->size)
        return broken(queue, QUEUE_CHAIN_TOO_LONG);
    if (!desc->len)
        return broken(queue, QUEUE_EMPTY_BUFFER);
    at = ram_at(queue->ram, desc->addr, desc->len);
    if (!at)
        return broken(queue, QUEUE_BUFFER_OUTSIDE);
    if (writable) {
        chain->writable_bytes += desc->len;
    } else {
        if (chain->readable < chain->count)
            return broken(queue, QUEUE_READ_AFTER_WRITE);
        chain->readable++;
        chain->readable_bytes += desc->len;
    }
    chain->iov[chain->count++] = (struct iovec){at, desc->len};
    return 0;
}

static int walk(struct queue *queue, struct chain *chain)
{
    struct table table = {queue->desc_at, queue->size, false};
    struct vring_desc desc;
    uint32_t index = chain->head;

    for (;;) {
        desc = read_desc(&table, index);
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            if (enter_indirect(queue, &table, &desc) < 0)
                return -1;
            index = 0;
            continue;
        }
        if (add_buffer(queue, chain, &desc) < 0)
            return -1;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return 1;
        if (desc.next >= table.count)
            return broken(queue, QUEUE_BAD_NEXT);
        index = desc.next;
    }
}

/* Takes the next chain that the driver has made available.  Returns 1, 0 if there
 * is none, or -1 if the queue is broken. */
int queue_pop(struct queue *queue, struct chain *chain)
{
    uint16_t ready, head;

    if (queue->error)
        return -1;
    if (!queue->enabled)
        return 0;
    ready = (uint16_t)(load16(avail_idx(queue)) - queue->next_avail);
    if (ready > queue->size)
        return broken(queue, QUEUE_AVAIL_TOO_FAR);
    if (!ready)
        return 0;
    head = load16(queue->avail_at + sizeof(struct vring_avail) +
                  queue->next_avail % queue->size * sizeof(uint16_t));
    if (head >= queue->size)
        return broken(queue, QUEUE_BAD_HEAD);
    queue->next_avail++;
    chain->head = head;
    chain->readable = chain->count = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    return walk(queue, chain);
}

/* Makes the last popped chain available again; it must not have been pushed. */
void queue_unpop(struct queue *queue)
{
    if (!queue->error && queue->enabled)
        queue->next_avail--;
}

/* Returns a chain to the driver; the first `written` of its writable bytes were
 * written. */
void queue_push(struct queue *queue, uint16_t head, uint32_t written)
{
    struct vring_used_elem entry = {.id = head, .len = written};

    if (queue->error || !queue->enabled)
        return;
    memcpy(queue->used_at + sizeof(struct vring_used) +
               queue->next_used % queue->size * sizeof entry,
           &entry, sizeof entry);
    queue->next_used++;
    store16(used_idx(queue), queue->next_used);
}

/* Whether the driver wants an interrupt for the chains pushed since the last call
 * (sections 2.7.7.2 and 2.7.10). */
bool queue_must_interrupt(struct queue *queue)
{
    uint16_t before = queue->signalled_used, now = queue->next_used;

    if (queue->error || !queue->enabled || before == now)
        return false;
    queue->signalled_used = now;
    /* The driver sets the event or flag, then reads idx; we do the reverse. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!queue->event_idx)
        return !(avail_flags(queue) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(load16(used_event(queue)), now, before);
}

/* Asks the driver to notify of new chains.  Returns whether there is one already,
 * for which no notification may come. */
bool queue_watch(struct queue *queue)
{
    if (queue->error || !queue->enabled)
        return false;
    if (queue->event_idx)
        store16(avail_event(queue), queue->next_avail);
    else
        store16(queue->used_at, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(avail_idx(queue)) != queue->next_avail;
}

/* Whether the driver has made chains available that were not popped. */
bool queue_has_chains(const struct queue *queue)
{
    return !queue->error && queue->enabled && load16(avail_idx(queue)) != queue->next_avail;
}

/* Asks the driver not to notify.  With EVENT_IDX, leaving avail_event alone does. */
void queue_unwatch(struct queue *queue)
{
    if (!queue->error && queue->enabled && !queue->event_idx)
        store16(queue->used_at, VRING_USED_F_NO_NOTIFY);
}

/* Whether every buffer that the driver has made available has been returned, whoever
 * serves the queue. */
bool queue_is_drained(const struct queue *queue)
{
    return !queue->enabled || queue->error || load16(avail_idx(queue)) == load16(used_idx(queue));
}
