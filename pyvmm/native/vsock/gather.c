/* Packets of one stream that the guest has made one after the other go to its socket at once:
 * their payload stays in the guest's buffers, which are returned afterwards. */
#include "vsock/vsock.h"

#include <string.h>

/* Whether a packet with these ports would be passed on together with those before. */
static bool continues(const struct vsock_gathered *gathered, const struct virtio_vsock_hdr *header)
{
    return header->op == VIRTIO_VSOCK_OP_RW && gathered->stream->guest_port == header->src_port &&
           gathered->stream->host_port == header->dst_port;
}

/* To be called before a packet is looked at: nothing overtakes what was gathered. */
void gather_before(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    if (vsock->gathered.chains && !continues(&vsock->gathered, header))
        gather_pass_on(vsock);
}

/* Adds `size` bytes of payload, which the stream has room for.  The chain is that in tx_chain. */
void gather_add(struct vsock *vsock, struct vsock_stream *stream, const struct iovec *payload, uint32_t size)
{
    struct vsock_gathered *gathered = &vsock->gathered;

    gathered->stream = stream;
    gathered->size += size;
    for (; size; payload++) {
        struct iovec *part = &gathered->iov[gathered->count++];
        *part = *payload;
        if (part->iov_len > size)
            part->iov_len = size;
        size -= (uint32_t)part->iov_len;
    }
}

/* Returns the chain in tx_chain to the guest, or keeps it until what was gathered has been passed on. */
void gather_return(struct vsock *vsock)
{
    struct vsock_gathered *gathered = &vsock->gathered;

    if (!gathered->stream) {
        queue_push(vsock->tx, vsock->tx_chain.head, 0);
        return;
    }
    gathered->chain[gathered->chains++] = vsock->tx_chain.head;
    /* Another chain may have as many buffers as there are in all. */
    if (gathered->chains == VSOCK_GATHERED || gathered->count > VSOCK_GATHERED_BUFFERS - QUEUE_SIZE_MAX ||
        vsock->legacy)
        gather_pass_on(vsock);
}

/* Passes on what was gathered. */
void gather_pass_on(struct vsock *vsock)
{
    struct vsock_gathered *gathered = &vsock->gathered;

    if (!gathered->stream)
        return;
    round_answered(&vsock->round, &gathered->stream->answered_in, gathered->size);
    stream_pass_on(vsock, gathered->stream, gathered->iov, gathered->count, gathered->size);
    for (uint32_t i = 0; i < gathered->chains; i++)
        queue_push(vsock->tx, gathered->chain[i], 0);
    gathered->stream = NULL;
    gathered->count = gathered->size = gathered->chains = 0;
}
