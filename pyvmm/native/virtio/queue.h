/* The device's side of a split virtqueue (virtio 1.2, section 2.7). */
#ifndef PYVMM_QUEUE_H
#define PYVMM_QUEUE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "memory/ram.h"

#define QUEUE_SIZE_MAX 256

/* Errors of the driver, with sections of virtio 1.2. */
PYTHON enum queue_error {
    QUEUE_OK,
    QUEUE_BAD_SIZE,          /* 2.7: not a power of 2, or over the maximum */
    QUEUE_BAD_RINGS,         /* 2.7: misaligned, or not in RAM */
    QUEUE_AVAIL_TOO_FAR,     /* 2.7.13.3: more new entries than the ring has */
    QUEUE_BAD_HEAD,          /* 2.7.6: the chain begins outside the table */
    QUEUE_BAD_NEXT,          /* 2.7.5: it continues outside the table */
    QUEUE_CHAIN_TOO_LONG,    /* 2.7.5.2: it has a loop, or more than Queue Size */
    QUEUE_EMPTY_BUFFER,      /* 2.7.5: a descriptor of length 0 */
    QUEUE_BUFFER_OUTSIDE,    /* 2.7.5: a buffer that is not entirely in RAM */
    QUEUE_READ_AFTER_WRITE,  /* 2.7.4.2: device-readable after device-writable */
    QUEUE_BAD_INDIRECT,      /* 2.7.5.3.1: nested, chained, odd length, not negotiated */
};

struct queue {
    const struct ram *ram;
    uint16_t size_max;

    /* Set by the driver before it enables the queue. */
    uint16_t size;
    uint64_t desc, avail, used;
    bool event_idx, indirect; /* negotiated features */

    /* While it is enabled. */
    bool enabled;
    uint8_t *desc_at, *avail_at, *used_at; /* host addresses of the rings */
    uint16_t next_avail;     /* the next entry of the available ring to take */
    uint16_t next_used;      /* the next entry of the used ring to fill */
    uint16_t signalled_used; /* next_used at the last queue_must_interrupt() */
    enum queue_error error;  /* once set, nothing is popped or pushed */
};

/* A descriptor chain: the device reads iov[0 .. readable) and writes
 * iov[readable .. count). */
struct chain {
    uint16_t head;
    uint32_t readable, count;
    uint64_t readable_bytes, writable_bytes;
    struct iovec iov[QUEUE_SIZE_MAX];
};

PYTHON void queue_init(struct queue *queue, const struct ram *ram, uint16_t size_max);
PYTHON void queue_reset(struct queue *queue);
PYTHON int queue_enable(struct queue *queue);
PYTHON int queue_pop(struct queue *queue, struct chain *chain);
void queue_unpop(struct queue *queue);
PYTHON void queue_push(struct queue *queue, uint16_t head, uint32_t written);
PYTHON bool queue_must_interrupt(struct queue *queue);
PYTHON bool queue_watch(struct queue *queue);
PYTHON bool queue_is_drained(const struct queue *queue);
bool queue_has_chains(const struct queue *queue);
PYTHON void queue_unwatch(struct queue *queue);

#endif
