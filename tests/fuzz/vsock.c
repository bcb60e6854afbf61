/* Fuzzes vsock's packet path: an input is a sequence of actions of a guest and of
 * programs on the host, 8 bytes each: action, which (port, socket), number (16 bits),
 * flags, and three bytes for the packet.  Rings and sockets are real; after each step the
 * device takes a turn, and its lists and sums must be consistent. */
#define _GNU_SOURCE
#include "host.h"
#include "vsock/vsock.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CID 5
#define ENTRIES 16u
#define RING(queue) ((queue) * 0x1000u) /* descriptors; then the rings, indirect tables */
#define AVAIL 0x400u
#define USED 0x800u
#define TABLES 0xc00u
#define BUFFERS 0x4000u
#define BUFFER 0x4000u /* bytes of each */
#define RAM_SIZE (BUFFERS + 2 * ENTRIES * BUFFER)
#define SOCKETS 16
#define GUEST_PORT 80
#define UNIX_PORT 7

enum { RX, TX };

static struct vsock vsock;
static struct virtio_mmio mmio;
static struct queue queue[2];
static struct ram ram;
static uint8_t *memory;
static int peer[SOCKETS], peers, server, published, unix_published;
static uint16_t available[2];
static bool honest; /* only offer() has written to the rings, and no buffer was reused */

static int listen_at(struct sockaddr_un *address, socklen_t *length, const char *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "fuzz-%d-%s", getpid(), name);
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address->sun_path + 1));
    check(bind(fd, (struct sockaddr *)address, *length) == 0 && listen(fd, SOCKETS) == 0, "listen");
    return fd;
}

static void add_peer(int fd)
{
    if (fd < 0)
        return;
    if (peers == SOCKETS)
        close(peer[--peers]);
    peer[peers++] = fd;
}

static void connect_to(int listener)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    getsockname(listener, (struct sockaddr *)&address, &length);
    if (connect(fd, (struct sockaddr *)&address, length) == 0)
        add_peer(fd);
    else
        close(fd);
}

static void activate(bool legacy, bool event_idx)
{
    for (uint32_t i = RX; i <= TX; i++) {
        queue_reset(&queue[i]);
        queue[i].size = ENTRIES;
        queue[i].desc = RING(i);
        queue[i].avail = RING(i) + AVAIL;
        queue[i].used = RING(i) + USED;
        queue[i].event_idx = event_idx;
        queue[i].indirect = true;
        memset(memory + RING(i), 0, 0x1000);
        available[i] = 0;
        check(queue_enable(&queue[i]) == 0, "queue");
    }
    vsock_activate(&vsock, &mmio, legacy);
    honest = true;
}

/* Makes a chain of up to two buffers available, `first` and `second` bytes long. */
static uint8_t *offer(uint32_t index, uint32_t first, uint32_t second, bool writable)
{
    uint16_t slot = available[index] % ENTRIES;
    uint64_t at = BUFFERS + (index * ENTRIES + slot) * BUFFER, table = RING(index) + TABLES + slot * 32u;
    uint16_t flags = writable ? VRING_DESC_F_WRITE : 0;
    struct vring_desc desc = {table, second ? 32 : 16, VRING_DESC_F_INDIRECT, 0};
    struct vring_desc entry[2] = {
        {at, first, (uint16_t)(flags | (second ? VRING_DESC_F_NEXT : 0)), 1},
        {at + first, second, flags, 0},
    };

    memcpy(memory + RING(index) + slot * sizeof desc, &desc, sizeof desc);
    memcpy(memory + table, entry, sizeof entry);
    memcpy(memory + RING(index) + AVAIL + 4 + slot * 2, &slot, 2);
    honest &= (uint16_t)(available[index] - queue[index].next_used) < ENTRIES;
    available[index]++;
    memcpy(memory + RING(index) + AVAIL + 2, &available[index], 2);
    event_raise(mmio.queue[index].kick_fd);
    return memory + at;
}

static uint32_t host_port(uint8_t which)
{
    static const uint32_t port[] = {GUEST_PORT, UNIX_PORT, 1, VSOCK_ANY_PORT};
    /* Mostly one of the existing connections. */
    if (which & 0x10)
        return VSOCK_FIRST_PORT + which % 16;
    return port[which % 4];
}

static void send_packet(const uint8_t *step, uint16_t number)
{
    struct virtio_vsock_hdr header = {
        .src_cid = step[4] & 0x80 ? 6 : CID,
        .dst_cid = step[4] & 0x40 ? 3 : VSOCK_HOST_CID,
        .src_port = step[1] & 0x20 ? step[1] : GUEST_PORT,
        .dst_port = host_port(step[1]),
        .type = step[4] & 0x20 ? step[5] : VIRTIO_VSOCK_TYPE_STREAM,
        .op = step[5] & 0x80 ? step[5] : step[5] % 9,
        .len = step[5] % 9 == VIRTIO_VSOCK_OP_RW ? number % (BUFFER - VSOCK_HEADER) : 0,
        .flags = step[4] & 3,
        .buf_alloc = step[6] << 10,
        .fwd_cnt = step[4] & 4 ? (uint32_t)-step[7] : (uint32_t)step[7] << 8,
    };
    uint32_t size = (uint32_t)VSOCK_HEADER + header.len, cut = 1 + number % 60;
    uint8_t *at = offer(TX, cut < size ? cut : size, cut < size ? size - cut : 0, false);

    if (step[4] & 0x10)
        header.len += step[7];
    memcpy(at, &header, sizeof header);
}

/* The last packet that the guest has received. */
static void look(void)
{
    struct virtio_vsock_hdr header;
    struct vring_used_elem entry;
    uint16_t last = (uint16_t)(queue[RX].next_used - 1) % ENTRIES;

    if (!honest || queue[RX].error || !queue[RX].next_used)
        return;
    memcpy(&entry, memory + RING(RX) + USED + 4 + last * sizeof entry, sizeof entry);
    check(entry.id < ENTRIES, "a chain that was offered");
    memcpy(&header, memory + BUFFERS + entry.id * BUFFER, sizeof header);
    check(entry.len == sizeof header + header.len, "length of a packet");
    check(header.src_cid == VSOCK_HOST_CID && header.dst_cid == CID, "ends of a packet");
}

static void check_lists(void)
{
    uint32_t streams = 0, promised = 0, ready = 0, in_list = 0, named = 0, in_table = 0;

    for (struct vsock_stream *s = vsock.streams; s; s = s->next) {
        streams++;
        promised += s->buf_alloc;
        ready += s->is_ready;
        named += s->is_named;
        check(s->state != STREAM_DEAD, "a stream that has ended");
        check(s->received - s->forwarded <= s->buf_alloc, "credit of the guest");
        check(!s->is_named || stream_find(&vsock, s->guest_port, s->host_port) == s, "ports");
    }
    for (struct vsock_stream *s = vsock.first_ready; s; s = s->next_ready)
        in_list += s->is_ready;
    for (uint32_t i = 0; i < VSOCK_STREAMS; i++)
        for (struct vsock_stream *s = vsock.bucket[i]; s; s = s->next_in_bucket)
            in_table++;
    check(streams == vsock.stream_count && streams <= VSOCK_STREAMS, "number of streams");
    check(promised == vsock.promised, "credit in all");
    check(ready == in_list && named == in_table, "lists");
    check(vsock.reset_count <= VSOCK_RESETS + VSOCK_STREAMS && !vsock.dead, "bounds");
}

static void step_host(const uint8_t *step, uint16_t number)
{
    static uint8_t bytes[1 << 16];
    int fd = peers ? peer[step[1] % peers] : -1;
    ssize_t done = 0;

    switch (step[0] % 6) {
    case 0:
        done = send(fd, bytes, number, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 1:
        done = recv(fd, bytes, number, MSG_DONTWAIT);
        break;
    case 2:
        shutdown(fd, step[4] % 3);
        break;
    case 3:
        if (fd >= 0) {
            close(fd);
            peer[step[1] % peers] = peer[peers - 1];
            peers--;
        }
        break;
    case 4:
        connect_to(published);
        break;
    case 5:
        connect_to(unix_published);
        if (peers)
            done = dprintf(peer[peers - 1], step[4] & 1 ? "CONNECT %u\nrest" : "CONN%u", number);
    }
    (void)done;
    add_peer(accept(server, NULL, NULL));
}

static void step_guest(const uint8_t *step, uint16_t number)
{
    switch (step[0] % 8) {
    case 0: /* arbitrary writes to the rings */
        memory[RING(step[1] % 2) + number % 0x1000] = step[4];
        honest = false;
        event_raise(mmio.queue[step[1] % 2].kick_fd);
        break;
    case 1:
        vsock_reset(&vsock);
        activate(step[4] & 1, step[4] & 2);
        break;
    case 2:
    case 3:
        offer(RX, VSOCK_HEADER + (step[4] & 1 ? 0 : number % 5000), step[4] & 2 ? number % 77 : 0, true);
        break;
    default:
        send_packet(step, number);
    }
}

/* Where captures go. */
static int nowhere(void)
{
    static int fd = -1;

    if (fd < 0)
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return fd;
}

static void set_up(void)
{
    struct sockaddr_un address;
    socklen_t length;

    memory = calloc(1, RAM_SIZE);
    ram = (struct ram){0};
    ram_add(&ram, 0, RAM_SIZE, memory);
    virtio_mmio_init(&mmio, 19, 0, -1);
    for (int i = RX; i <= TX; i++) {
        queue_init(&queue[i], &ram, QUEUE_SIZE_MAX);
        virtio_mmio_add_queue(&mmio, &queue[i], eventfd(0, EFD_NONBLOCK));
    }
    check(vsock_init(&vsock, CID) == 0, "vsock_init");
    server = listen_at(&address, &length, "server");
    vsock_allow(&vsock, GUEST_PORT, (uint8_t *)&address, length);
    published = listen_at(&address, &length, "published");
    vsock_listen(&vsock, published, GUEST_PORT);
    unix_published = listen_at(&address, &length, "unix");
    vsock_listen_unix(&vsock, unix_published, "/nowhere/to/be/found");
    peers = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vsock_note note;

    set_up();
    if (size & 2)
        check(vsock_capture(&vsock, nowhere()) == 0, "vsock_capture");
    activate(false, size & 1);
    for (; size >= 8; data += 8, size -= 8) {
        uint16_t number = (uint16_t)(data[2] | data[3] << 8);
        if (data[0] & 0x80)
            step_host(data, number);
        else
            step_guest(data, number);
        vsock_turn(&vsock, 0);
        look();
        check_lists();
        while (vsock_take_note(&vsock, &note))
            ;
    }
    vsock_close(&vsock);
    check(!vsock.stream_count && !vsock.promised, "all is freed");
    while (peers)
        close(peer[--peers]);
    close(server);
    close(published);
    close(unix_published);
    close(mmio.queue[RX].kick_fd);
    close(mmio.queue[TX].kick_fd);
    free(memory);
    return 0;
}
