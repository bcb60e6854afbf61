/* The life cycle of virtio devices with threads: LIFECYCLE SECONDS SEED, built with
 * -fsanitize=thread or address.
 *
 * Three vCPUs write to the registers of three devices, partly as a driver would and
 * partly at random, and scribble in the rings.  As in the VMM, the control thread serves
 * their exits in the order of the vCPUs' numbers, not of the writes.  The devices are
 * vsock, whose thread uses the queues; one that the control thread serves, like a
 * console; and one that a thread serves in place of another process (virtio-fs).  Each
 * device has RAM of its own, so a report of the sanitizer means state, or a queue, with
 * two owners. */
#define _GNU_SOURCE
#include "host.h"
#include "vsock/vsock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { VCPUS = 3, DEVICES = 3, QUEUES = 2, CID = 5, GUEST_PORT = 80 };
enum { VSOCK, CONTROL, BACKEND }; /* what serves the device */

#define MEMORY 0x40000u /* bytes of RAM, per device */
#define AVAIL 0x4000u
#define USED 0x8000u
#define BUFFERS 0x10000u
#define BUFFER 0x400u
#define ENTRIES 16u

struct device {
    struct virtio_mmio mmio;
    struct queue queue[QUEUES];
    struct ram ram;
    uint8_t *memory;
    struct queue mine[QUEUES]; /* as they were when the device started */
    bool owns;
    atomic_uint offered[QUEUES]; /* chains since the driver set up the queue */
    pthread_t thread; /* of BACKEND */
    atomic_bool stop;
};

struct cpu {
    pthread_t thread;
    uint64_t random;
    sem_t resume;
    atomic_bool exited;
    struct device *device;
};

static struct device device[DEVICES];
static struct cpu cpu[VCPUS];
static struct vsock vsock;
static int exit_fd, published, server;
static atomic_bool end;
static unsigned long starts, resets, changes, breaks;
static atomic_ulong writes, chains;

static void check(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "failed: %s\n", what);
        abort();
    }
}

static uint32_t next_random(uint64_t *state) /* xorshift64* */
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1dull >> 32);
}

/* ---- devices, as the control thread sees them ------------------------------------------ */

/* Takes all available chains and returns them empty. */
static void serve(struct device *of)
{
    static _Thread_local struct chain chain;

    for (int i = 0; i < QUEUES; i++) {
        struct queue *queue = &of->queue[i];
        check(queue->desc == of->mine[i].desc && queue->enabled == of->mine[i].enabled,
              "a queue has changed under its owner");
        for (int n = 0; n < 8 && queue_pop(queue, &chain) > 0; n++) {
            queue_push(queue, chain.head, 0);
            atomic_fetch_add(&chains, 1);
        }
        queue_watch(queue);
        if (queue_must_interrupt(queue))
            virtio_mmio_interrupt(&of->mmio);
    }
}

static void *backend(void *arg)
{
    struct device *of = arg;

    while (!atomic_load(&of->stop)) {
        serve(of);
        event_raise(of->mmio.irq_fd);
        usleep(50);
    }
    return NULL;
}

static void resume(struct device *of)
{
    memcpy(of->mine, of->queue, sizeof of->mine);
    of->owns = true;
    if (of == &device[VSOCK]) {
        check(vsock_start(&vsock) == 0, "vsock_start");
    } else if (of == &device[BACKEND]) {
        atomic_store(&of->stop, false);
        check(pthread_create(&of->thread, NULL, backend, of) == 0, "pthread_create");
    }
}

static void start(struct device *of)
{
    check(!of->owns, "started twice");
    if (of == &device[VSOCK])
        vsock_activate(&vsock, &of->mmio, !(of->mmio.driver_features >> VIRTIO_F_VERSION_1 & 1));
    else if (of == &device[BACKEND]) {
        virtio_mmio_use_elsewhere(&of->mmio);
        check(virtio_mmio_relay(&of->mmio) == 0, "virtio_mmio_relay");
    }
    resume(of);
}

static void give_back(struct device *of)
{
    check(of->owns, "stopped before it was started");
    of->owns = false;
    if (of == &device[BACKEND]) {
        atomic_store(&of->stop, true);
        pthread_join(of->thread, NULL);
    }
}

static void stop(struct device *of)
{
    give_back(of);
    if (of == &device[VSOCK])
        vsock_reset(&vsock);
}

static void pause_device(struct device *of)
{
    give_back(of);
    if (of == &device[VSOCK])
        vsock_pause(&vsock);
}

static void break_device(struct device *of)
{
    if (of->owns)
        stop(of);
    virtio_mmio_needs_reset(&of->mmio);
    breaks++;
}

/* ---- the control thread ------------------------------------------------------------------ */

static void settle(struct device *of)
{
    for (;;)
        switch (virtio_mmio_next(&of->mmio)) {
        case VIRTIO_MMIO_START:
            start(of);
            starts++;
            break;
        case VIRTIO_MMIO_CHANGE:
            pause_device(of);
            if (virtio_mmio_change_queues(&of->mmio) >= 0)
                break_device(of);
            else
                resume(of);
            changes++;
            break;
        case VIRTIO_MMIO_RESET:
            stop(of);
            virtio_mmio_reset(&of->mmio);
            resets++;
            break;
        case VIRTIO_MMIO_SETTLED:
            check(of->owns == virtio_mmio_runs(&of->mmio), "two ideas of who owns the queues");
            return;
        }
}

static void take_notes(void)
{
    struct vsock_note note;

    while (vsock_take_note(&vsock, &note))
        if (note.kind == VSOCK_NOTE_BROKEN)
            break_device(&device[VSOCK]);
}

static void client(uint64_t *random)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    getsockname(published, (struct sockaddr *)&address, &length);
    if (fd >= 0 && (connect(fd, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS) &&
        next_random(random) % 2)
        send(fd, "hello", 5, MSG_NOSIGNAL);
    stream_close_socket(fd, next_random(random) % 2);
    fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
}

static void control(time_t until, uint64_t random)
{
    uint64_t count;

    while (time(NULL) < until) {
        if (read(exit_fd, &count, sizeof count) < 0)
            usleep(20);
        for (int i = 0; i < VCPUS; i++)
            if (atomic_load(&cpu[i].exited)) {
                settle(cpu[i].device);
                atomic_store(&cpu[i].exited, false);
                sem_post(&cpu[i].resume);
            }
        take_notes();
        if (device[CONTROL].owns)
            serve(&device[CONTROL]);
        switch (next_random(&random) % 256) {
        case 0: /* a backend dies */
            if (device[BACKEND].owns)
                break_device(&device[BACKEND]);
            break;
        case 1:
            virtio_mmio_set_config(&device[CONTROL].mmio, (const uint8_t *)&random, sizeof random);
            break;
        case 2:
            client(&random);
        }
    }
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static void access_register(struct cpu *by, struct device *of, bool write, uint32_t offset, uint32_t value)
{
    uint8_t data[sizeof value];

    memcpy(data, &value, sizeof data);
    atomic_fetch_add(&writes, write);
    if (virtio_mmio_access(&of->mmio, NULL, write, offset, data, sizeof data, 1))
        return;
    by->device = of;
    atomic_store(&by->exited, true);
    event_raise(exit_fd);
    while (!atomic_load(&end) && sem_wait(&by->resume) < 0)
        ;
}

/* Writes guest memory as a guest does, invisibly to the sanitizer. */
__attribute__((no_sanitize("thread"))) static void poke(struct device *of, uint32_t at, uint64_t value,
                                                        uint32_t size)
{
    volatile uint8_t *to = of->memory + at;

    for (uint32_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static void offer(struct cpu *by, struct device *of, uint32_t index)
{
    uint32_t ring = index * 0x400u, slot = next_random(&by->random) % ENTRIES;
    uint32_t buffer = BUFFERS + (index * ENTRIES + slot) * BUFFER;
    uint32_t wild = next_random(&by->random) % 512;

    poke(of, ring + slot * 16, buffer, 8);
    poke(of, ring + slot * 16 + 8, wild == 1 ? ~0u : BUFFER, 4);
    poke(of, ring + slot * 16 + 12, of == &device[VSOCK] && index == 0 ? VRING_DESC_F_WRITE : 0, 2);
    /* A vsock packet: a request, payload, or shutdown. */
    poke(of, buffer, CID, 8);
    poke(of, buffer + 8, VSOCK_HOST_CID, 8);
    poke(of, buffer + 16, 1000 + slot, 4);
    poke(of, buffer + 20, GUEST_PORT, 4);
    poke(of, buffer + 24, slot, 4);
    poke(of, buffer + 28, 1, 2);
    poke(of, buffer + 30, next_random(&by->random) % 8, 2);
    poke(of, buffer + 36, 4096, 4);
    poke(of, AVAIL + ring + 4 + atomic_load(&of->offered[index]) % ENTRIES * 2, wild ? slot : ENTRIES, 2);
    poke(of, AVAIL + ring + 2, wild == 2 ? 0x4000 : atomic_fetch_add(&of->offered[index], 1) + 1, 2);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_NOTIFY, index);
}

static void set_up(struct cpu *by, struct device *of, uint32_t index)
{
    uint32_t at = index * 0x400u;

    access_register(by, of, true, VIRTIO_MMIO_QUEUE_SEL, index);
    if (next_random(&by->random) % 8)
        access_register(by, of, true, VIRTIO_MMIO_QUEUE_READY, 0);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_NUM, next_random(&by->random) % 32 ? ENTRIES : 3);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_DESC_LOW, at);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_AVAIL_LOW, at + AVAIL);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_USED_LOW, at + USED);
    atomic_store(&of->offered[index], 0);
    poke(of, AVAIL + index * 0x400u + 2, 0, 2);
    access_register(by, of, true, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void *vcpu(void *arg)
{
    static const uint32_t status[] = {0, 0, 1, 3, 11, 15, 15, 15, 4, 128};
    struct cpu *by = arg;

    while (!atomic_load(&end)) {
        struct device *of = &device[next_random(&by->random) % DEVICES];
        uint32_t value = next_random(&by->random);
        switch (next_random(&by->random) % 32) {
        case 0:
            access_register(by, of, true, VIRTIO_MMIO_STATUS, status[value % 10]);
            break;
        case 1:
            access_register(by, of, true, VIRTIO_MMIO_DRIVER_FEATURES_SEL, value % 2);
            access_register(by, of, true, VIRTIO_MMIO_DRIVER_FEATURES, value / 2 % 2);
            break;
        case 2:
            set_up(by, of, value % QUEUES);
            break;
        case 3:
            access_register(by, of, true, VIRTIO_MMIO_QUEUE_SEL, value % 4);
            access_register(by, of, true, VIRTIO_MMIO_QUEUE_READY, value / 4 % 16 == 0);
            break;
        case 4:
            access_register(by, of, value % 2, value / 2 % 0x140 & ~3u, value >> 16);
            break;
        case 5:
            access_register(by, of, false, VIRTIO_MMIO_INTERRUPT_STATUS, 0);
            access_register(by, of, true, VIRTIO_MMIO_INTERRUPT_ACK, 3);
            break;
        default:
            offer(by, of, value % QUEUES);
        }
    }
    return NULL;
}

static int listen_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    check(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 64) == 0, "listen");
    return fd;
}

static void make_devices(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int no_vm = open("/dev/null", O_RDWR);

    for (int i = 0; i < DEVICES; i++) {
        virtio_mmio_init(&device[i].mmio, 19, 1ull << VIRTIO_F_VERSION_1 | 3ull << VIRTIO_RING_F_INDIRECT_DESC,
                         eventfd(0, EFD_NONBLOCK));
        device[i].memory = calloc(1, MEMORY);
        ram_add(&device[i].ram, 0, MEMORY, device[i].memory);
        for (int q = 0; q < QUEUES; q++) {
            queue_init(&device[i].queue[q], &device[i].ram, 256);
            virtio_mmio_add_queue(&device[i].mmio, &device[i].queue[q], eventfd(0, EFD_NONBLOCK));
        }
    }
    virtio_mmio_use_line(&device[BACKEND].mmio, no_vm, 5);
    check(vsock_init(&vsock, CID) == 0, "vsock_init");
    published = listen_tcp();
    server = listen_tcp();
    getsockname(server, (struct sockaddr *)&address, &length);
    vsock_listen(&vsock, published, GUEST_PORT);
    vsock_allow(&vsock, GUEST_PORT, (uint8_t *)&address, length);
}

int main(int argc, char **argv)
{
    check(argc == 3, "usage: LIFECYCLE SECONDS SEED");
    exit_fd = eventfd(0, EFD_NONBLOCK);
    make_devices();
    for (int i = 0; i < VCPUS; i++) {
        sem_init(&cpu[i].resume, 0, 0);
        cpu[i].random = (strtoull(argv[2], NULL, 0) + 1) * 0x9e3779b97f4a7c15ull + (uint64_t)i;
        pthread_create(&cpu[i].thread, NULL, vcpu, &cpu[i]);
    }
    control(time(NULL) + atoi(argv[1]), strtoull(argv[2], NULL, 0) | 1);
    atomic_store(&end, true);
    for (int i = 0; i < VCPUS; i++) {
        sem_post(&cpu[i].resume);
        pthread_join(cpu[i].thread, NULL);
    }
    for (int i = 0; i < DEVICES; i++) {
        if (device[i].owns)
            stop(&device[i]);
        virtio_mmio_end_relay(&device[i].mmio);
    }
    vsock_close(&vsock);
    printf("%lu writes, %lu starts, %lu changes of queues, %lu resets, %lu broken, %lu chains\n",
           atomic_load(&writes), starts, changes, resets, breaks, atomic_load(&chains));
    return 0;
}
