/* Fuzzes the split queue: an input is the rings that a driver has set up.
 *
 *     byte 0      log2 of the size; with bits: 0x10 EVENT_IDX, 0x20 INDIRECT_DESC
 *     bytes 1-2   the initial index of both sides
 *     then        RAM from guest-physical 0: descriptors, available ring, used
 *                 ring, and whatever they point to
 *
 * RAM is allocated to the byte, so that the address sanitizer detects an access one byte
 * outside it.  At the end it tells how often a chain was asked for, and how many chains came
 * and were returned: these are the operations of a queue that docs/testing.md counts. */
#include "virtio/queue.h"
#include "fuzz.h"

#define LOW_SIZE 8192u
#define HIGH_START (1ull << 32)
#define HIGH_SIZE 256u

static unsigned long pops, chains;

static void tell_counts(void)
{
    printf("%lu operations: %lu pops, %lu chains returned\n", pops + chains, pops, chains);
}

static int pop(struct queue *queue, struct chain *chain)
{
    pops++;
    return queue_pop(queue, chain);
}

static bool inside(const struct ram *ram, const struct iovec *iov)
{
    const uint8_t *at = iov->iov_base;
    for (uint32_t i = 0; i < ram->count; i++)
        if (at >= ram->region[i].host &&
            at + iov->iov_len <= ram->region[i].host + ram->region[i].size)
            return true;
    return false;
}

static void serve(struct queue *queue, struct chain *chain)
{
    volatile uint8_t sum = 0;

    check(chain->count > 0 && chain->count <= queue->size, "length of the chain");
    check(chain->readable <= chain->count, "readable part");
    for (uint32_t i = 0; i < chain->count; i++) {
        check(chain->iov[i].iov_len > 0, "length of a buffer");
        check(inside(queue->ram, &chain->iov[i]), "place of a buffer");
        const uint8_t *at = chain->iov[i].iov_base;
        sum += (uint8_t)(at[0] + at[chain->iov[i].iov_len - 1]);
    }
    queue_push(queue, chain->head, (uint32_t)chain->writable_bytes);
    chains++;
    queue_must_interrupt(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chain chain;
    struct ram ram = {0};
    struct queue queue;
    uint16_t entries, start;
    int popped;

    if (!pops)
        atexit(tell_counts);
    if (size < 3)
        return 0;
    uint8_t *low = calloc(1, LOW_SIZE), *high = calloc(1, HIGH_SIZE);
    ram_add(&ram, 0, LOW_SIZE, low);
    ram_add(&ram, HIGH_START, HIGH_SIZE, high);
    memcpy(low, data + 3, size - 3 < LOW_SIZE ? size - 3 : LOW_SIZE);

    entries = (uint16_t)(1u << (data[0] & 15) % 9);
    start = (uint16_t)(data[1] | data[2] << 8);
    queue_init(&queue, &ram, QUEUE_SIZE_MAX);
    queue.size = entries;
    queue.desc = 0;
    queue.avail = 16u * entries;
    queue.used = (queue.avail + 6u + 2u * entries + 3u) & ~3ull;
    queue.event_idx = data[0] & 0x10;
    queue.indirect = data[0] & 0x20;
    if (queue_enable(&queue) == 0) {
        queue.next_avail = queue.next_used = queue.signalled_used = start;
        for (int i = 0; i < 4 * QUEUE_SIZE_MAX; i++) {
            popped = pop(&queue, &chain);
            if (popped <= 0)
                break;
            serve(&queue, &chain);
            queue_watch(&queue);
            queue_unwatch(&queue);
        }
        check((pop(&queue, &chain) < 0) == (queue.error != QUEUE_OK), "error");
    }
    free(low);
    free(high);
    return 0;
}
