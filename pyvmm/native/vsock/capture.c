/* A capture of a device's packets, as pcapng (draft-ietf-opsawg-pcapng) with the link type VSOCK:
 * each packet is a struct af_vsockmon_hdr (<linux/vsockmon.h>), as the kernel's own monitor
 * writes, then the virtio header and the payload.
 *
 * Packets are collected and written before the thread waits. */
#define _GNU_SOURCE
#include "vsock/vsock.h"
#include "host.h"

#include <errno.h>
#include <linux/vsockmon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINKTYPE_VSOCK 271
#define SECTION_HEADER 0x0a0d0d0au
#define INTERFACE_DESCRIPTION 1u
#define ENHANCED_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define OPTION_NAME 2 /* of an interface; of a packet, its flags */
#define OPTION_FLAGS 2
#define OPTION_TSRESOL 9
#define NANOSECONDS 9 /* as a power of ten */
#define INBOUND 1u
#define OUTBOUND 2u

#define BUFFER (512u << 10)
#define PAYLOAD_MAX (128u << 10) /* of a packet; more of it is left out */
#define HEADERS (sizeof(struct af_vsockmon_hdr) + VSOCK_HEADER)
#define SNAP_LENGTH ((uint32_t)(HEADERS + PAYLOAD_MAX))
#define PACKET_MAX (SNAP_LENGTH + 64)

struct capture {
    int fd;
    size_t used;
    uint8_t buffer[BUFFER];
};

struct packet_block {
    uint32_t type, length, interface, time_high, time_low, captured, original;
};

/* What is behind a packet's bytes: its options and its length again. */
struct packet_end {
    uint16_t code, size;
    uint32_t flags, end_of_options, length;
};

static void add(struct capture *capture, const void *data, size_t size)
{
    memcpy(capture->buffer + capture->used, data, size);
    capture->used += size;
}

static void add_headers(struct capture *capture, uint64_t cid)
{
    const struct {
        uint32_t type, length, magic;
        uint16_t major, minor;
        int64_t section;
        uint32_t again;
    } __attribute__((packed)) section = {SECTION_HEADER, sizeof section, BYTE_ORDER_MAGIC, 1, 0, -1, sizeof section};
    struct {
        uint32_t type, length;
        uint16_t link, reserved;
        uint32_t snap_length;
        uint16_t name_code, name_size;
        char name[16];
        uint16_t resolution_code, resolution_size;
        uint8_t resolution[4];
        uint32_t end_of_options, again;
    } interface = {
        .type = INTERFACE_DESCRIPTION, .length = sizeof interface, .link = LINKTYPE_VSOCK,
        .snap_length = SNAP_LENGTH, .name_code = OPTION_NAME, .name_size = sizeof interface.name,
        .resolution_code = OPTION_TSRESOL, .resolution_size = 1, .resolution = {NANOSECONDS},
        .again = sizeof interface,
    };

    snprintf(interface.name, sizeof interface.name, "vsock%u", (uint32_t)cid);
    add(capture, &section, sizeof section);
    add(capture, &interface, sizeof interface);
}

/* Captures all packets from now on into an empty regular file, which stays the caller's and is
 * not to be closed before vsock_close().  The device must not run.  Returns -1 with errno set. */
int vsock_capture(struct vsock *vsock, int fd)
{
    vsock->capture = malloc(sizeof *vsock->capture);
    if (!vsock->capture)
        return -1;
    vsock->capture->fd = fd;
    vsock->capture->used = 0;
    add_headers(vsock->capture, vsock->cid);
    return 0;
}

/* Writes what was collected.  If that fails there is no capture any more, and Python is told. */
void capture_flush(struct vsock *vsock)
{
    struct capture *capture = vsock->capture;

    for (size_t at = 0; capture && at < capture->used;) {
        ssize_t done = write(capture->fd, capture->buffer + at, capture->used - at);

        if (done > 0) {
            at += (size_t)done;
        } else if (errno != EINTR) {
            vsock_add_note(vsock, (struct vsock_note){VSOCK_NOTE_CAPTURE, (uint32_t)errno, QUEUE_OK});
            capture_end(vsock);
            return;
        }
    }
    if (capture)
        capture->used = 0;
}

/* What the kernel's monitor calls an operation. */
static uint16_t monitored(uint16_t operation)
{
    switch (operation) {
    case VIRTIO_VSOCK_OP_REQUEST:
    case VIRTIO_VSOCK_OP_RESPONSE:
        return AF_VSOCK_OP_CONNECT;
    case VIRTIO_VSOCK_OP_RST:
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        return AF_VSOCK_OP_DISCONNECT;
    case VIRTIO_VSOCK_OP_RW:
        return AF_VSOCK_OP_PAYLOAD;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        return AF_VSOCK_OP_CONTROL;
    }
    return AF_VSOCK_OP_UNKNOWN;
}

/* Adds a packet: its header, and as many bytes of `payload` as that says and there are. */
void capture_packet(struct vsock *vsock, bool to_guest, const struct virtio_vsock_hdr *header,
                    const struct iovec *payload, uint32_t count)
{
    static const uint8_t zeroes[4];
    struct capture *capture = vsock->capture;
    const struct af_vsockmon_hdr monitor = {
        .src_cid = header->src_cid, .dst_cid = header->dst_cid,
        .src_port = header->src_port, .dst_port = header->dst_port,
        .op = monitored(header->op), .transport = AF_VSOCK_TRANSPORT_VIRTIO, .len = VSOCK_HEADER,
    };
    struct packet_block block = {.type = ENHANCED_PACKET};
    struct packet_end end = {.code = OPTION_FLAGS, .size = sizeof end.flags,
                             .flags = to_guest ? OUTBOUND : INBOUND};
    uint64_t now = clock_ns(CLOCK_REALTIME);
    size_t left = header->len < PAYLOAD_MAX ? header->len : PAYLOAD_MAX, size = 0, block_at;

    if (capture->used + PACKET_MAX > BUFFER) {
        capture_flush(vsock);
        if (!vsock->capture)
            return;
    }
    block_at = capture->used;
    capture->used += sizeof block;
    add(capture, &monitor, sizeof monitor);
    add(capture, header, sizeof *header);
    for (; left && count; payload++, count--) {
        size_t part = payload->iov_len < left ? payload->iov_len : left;

        add(capture, payload->iov_base, part);
        size += part;
        left -= part;
    }
    block.captured = (uint32_t)(HEADERS + size);
    block.original = left ? block.captured : (uint32_t)(HEADERS + header->len);
    add(capture, zeroes, -block.captured & 3);
    end.length = block.length = (uint32_t)(capture->used - block_at + sizeof end);
    add(capture, &end, sizeof end);
    block.time_high = (uint32_t)(now >> 32);
    block.time_low = (uint32_t)now;
    memcpy(capture->buffer + block_at, &block, sizeof block);
}

/* Ends the capture, of which nothing more is written. */
void capture_end(struct vsock *vsock)
{
    free(vsock->capture);
    vsock->capture = NULL;
}
