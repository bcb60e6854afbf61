/* Fuzzes the split queue: an input is the rings that a driver has made.
 *
 *     byte 0      log2 of the size; with bits: 0x10 EVENT_IDX, 0x20 INDIRECT_DESC
 *     bytes 1-2   the indexes that both sides begin at
 *     then        RAM from guest-physical 0: descriptors, available ring, used
 *                 ring, and whatever they point to
 *
 * With libFuzzer (clang -fsanitize=fuzzer,address,undefined -DLIBFUZZER) it is a
 * target; otherwise a program, `queue SECONDS SEED FILE…`, that runs the files
 * and then mutations of them.  RAM is allocated to the byte, so the address
 * sanitizer sees a single byte outside of it. */
#include "../../pyvmm/_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOW_SIZE 8192u
#define HIGH_START (1ull << 32)
#define HIGH_SIZE 256u
#define INPUT_MAX (3 + LOW_SIZE)

static void check(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "failed: %s\n", what);
        abort();
    }
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
    queue_must_interrupt(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chain chain;
    struct ram ram = {0};
    struct queue queue;
    uint16_t entries, start;
    int popped;

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
            popped = queue_pop(&queue, &chain);
            if (popped <= 0)
                break;
            serve(&queue, &chain);
            queue_watch(&queue);
            queue_unwatch(&queue);
        }
        check((queue_pop(&queue, &chain) < 0) == (queue.error != QUEUE_OK), "error");
    }
    free(low);
    free(high);
    return 0;
}

#ifndef LIBFUZZER
static uint64_t state;

static uint32_t random32(void) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}

/* Bytes near the beginning are indexes and descriptors: change those most. */
static void mutate(uint8_t *data, size_t size)
{
    static const uint8_t interesting[] = {0, 1, 2, 3, 4, 7, 8, 16, 0x20, 0x7f, 0x80, 0xff};
    for (uint32_t n = 1 + random32() % 8; n; n--) {
        size_t reach = random32() % 4 ? (size < 300 ? size : 300) : size;
        data[random32() % reach] = random32() % 2 ? interesting[random32() % sizeof interesting]
                                                  : (uint8_t)random32();
    }
}

static size_t read_file(const char *path, uint8_t *data)
{
    FILE *file = fopen(path, "rb");
    check(file, path);
    size_t size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX], input[INPUT_MAX];
    unsigned long runs = 0;
    time_t end;

    check(argc > 3, "usage: queue SECONDS SEED FILE...");
    end = time(NULL) + atoi(argv[1]);
    state = strtoull(argv[2], NULL, 0) | 1;
    do
        for (int i = 3; i < argc; i++) {
            size_t size = read_file(argv[i], data);
            LLVMFuzzerTestOneInput(data, size);
            for (int n = 0; n < 20000 && size; n++, runs++) {
                memcpy(input, data, size);
                mutate(input, size);
                LLVMFuzzerTestOneInput(input, size);
            }
        }
    while (time(NULL) < end);
    printf("%lu inputs\n", runs);
    return 0;
}
#endif
