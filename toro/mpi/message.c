/* Sends and receives.
 *
 * Data that do not go through the ring are offered. Whoever changes the offer's state from OFFERED
 * decides: the receiver claims it, copies the data and says COPIED, which ends the send; the sender
 * of a standard message that nobody has claimed for a while leaves a copy and says BUFFERED, which
 * ends the send as well; or it withdraws the offer (MPI_Cancel). Of long data both ranks copy
 * parts, if the sender waits. */
#include "ring.h"

#define BUFFERED_MAX (64 << 10) /* longer messages wait for their receivers */
#define PATIENCE 5              /* microseconds for which an offer stands before it is buffered */
#define SHARED_MIN (64 << 10)   /* bytes from which on both ranks copy */
#define PART (16 << 10)
#define TURNS 50 /* looks whether a receiver takes what is offered at once */

static struct offer *unused;

/* ---- Offers ---- */

static struct offer *new_offer(const void *data, size_t bytes)
{
    struct offer *offer = unused;
    if (offer)
        unused = offer->free;
    else {
        offer = toro_aligned_memory(sizeof *offer, sizeof *offer);
        if (!offer)
            mpi_die("MPI", "no memory is left");
        *offer = (struct offer){.world = mpi_rank};
    }
    offer->data = data;
    offer->bytes = bytes;
    return offer;
}

/* Makes it ready for its next use: its line comes back from the receiver's cache meanwhile. */
static void keep_offer(struct offer *offer)
{
    *offer = (struct offer){.state = OFFERED, .world = mpi_rank, .free = unused};
    unused = offer;
}

bool mpi_claim(struct offer *offer)
{
    int state = OFFERED;
    if (atomic_compare_exchange_strong(&offer->state, &state, CLAIMED) || state == BUFFERED || state == CLAIMED)
        return true;
    keep_offer(offer); /* withdrawn */
    return false;
}

static void finish_offer(struct offer *offer)
{
    int sender = offer->world;
    if (offer->state == BUFFERED) {
        toro_release(offer->buffer);
        keep_offer(offer);
        return;
    }
    atomic_store_explicit(&offer->state, COPIED, memory_order_release); /* now it is the sender's */
    mpi_wake(sender);
}

static void copy_parts(struct offer *offer, char *target, size_t bytes)
{
    for (;;) {
        size_t at = atomic_fetch_add(&offer->next, PART);
        if (at >= bytes)
            return;
        size_t size = bytes - at < PART ? bytes - at : PART;
        mpi_copy(target + at, (const char *)offer->data + at, size);
        atomic_fetch_add(&offer->copied, size);
    }
}

/* Copies the data together with the sender. */
static void copy_together(struct offer *offer, void *target, size_t bytes)
{
    struct pause pause = {0};
    offer->bytes = bytes;
    atomic_store_explicit(&offer->target, toro_shared_address(target), memory_order_release);
    copy_parts(offer, target, bytes);
    while (atomic_load(&offer->copied) < bytes) /* the sender copies its last part */
        mpi_poll(&pause);
}

/* ---- Delivery ---- */

static __attribute__((noinline)) void unpack_lines(struct mpi_request *request, struct ring *ring,
                                                   const struct line *line, size_t bytes)
{
    char whole[RING_BYTES];
    mpi_ring_read(ring, line, whole, bytes);
    mpi_unpack(whole, bytes, request->data, request->count, request->type);
}

/* The data of a message without an offer are in `data`, or in lines of a ring. */
static void deliver(struct mpi_request *request, const struct header *header, const void *data, struct ring *ring,
                    const struct line *line)
{
    struct type *type = request->type;
    size_t room = type->size * request->count, bytes = header->bytes;
    struct offer *offer = header->offer;

    request->status.MPI_SOURCE = header->source;
    request->status.MPI_TAG = header->tag;
    if (bytes > room) {
        bytes = room;
        request->error = MPI_ERR_TRUNCATE;
    }
    request->status.bytes = bytes;
    if (offer)
        data = offer->state == BUFFERED ? offer->buffer : offer->data;
    if (line && !type->plain)
        unpack_lines(request, ring, line, bytes);
    else if (!type->plain)
        mpi_unpack(data, bytes, request->data, request->count, request->type);
    else if (line)
        mpi_ring_read(ring, line, request->data, bytes);
    else if (offer && offer->state != BUFFERED && bytes >= SHARED_MIN && header->world != mpi_rank)
        copy_together(offer, request->data, bytes);
    else
        mpi_copy(request->data, data, bytes);
    if (offer)
        finish_offer(offer);
    request->complete = true;
}

void mpi_deliver(struct mpi_request *request, struct mpi_arrival *arrival)
{
    deliver(request, &arrival->header, arrival->data, NULL, NULL);
    mpi_give_back(arrival);
}

bool mpi_take_offer(void *target, struct offer *offer, const void *data, size_t bytes, int sender)
{
    int state = OFFERED;
    if (!data || bytes >= SHARED_MIN)
        return false;
    mpi_copy(target, data, bytes);
    if (!atomic_compare_exchange_strong(&offer->state, &state, COPIED))
        return false;
    mpi_wake(sender);
    return true;
}

static bool receive_at_once(struct mpi_request *request, const struct header *header)
{
    if (!request->type->plain || header->bytes > request->type->size * request->count ||
        !mpi_take_offer(request->data, header->offer, header->data, header->bytes, header->world))
        return false;
    request->status.MPI_SOURCE = header->source;
    request->status.MPI_TAG = header->tag;
    request->status.bytes = header->bytes;
    request->complete = true;
    return true;
}

/* Keeps what nobody has posted a receive for. */
static void keep(struct ring *ring, const struct line *line, struct header *header)
{
    void *to = NULL;
    if (!header->offer && header->bytes > ARRIVAL_DATA) {
        header->offer = new_offer(NULL, header->bytes);
        to = header->offer->buffer = mpi_memory(header->bytes);
        header->offer->state = BUFFERED;
    }
    void *place = mpi_keep(header);
    if (to || !header->offer)
        mpi_ring_read(ring, line, to ? to : place, header->bytes);
}

static bool take(struct mpi_request *request, struct ring *ring, struct line *line, const struct header *header)
{
    bool copied = false;
    if (header->offer) {
        mpi_ring_next(ring, line); /* before a long copy, so that others may send */
        copied = receive_at_once(request, header);
        if (!copied && !mpi_claim(header->offer))
            return false;
    }
    if (request->receive.link)
        mpi_unpost(&request->receive);
    if (!copied)
        deliver(request, header, NULL, ring, header->offer ? NULL : line);
    if (!header->offer)
        mpi_ring_next(ring, line);
    return true;
}

bool mpi_take_message(struct mpi_request *request, struct ring *ring, struct line *line)
{
    struct header header;
    mpi_ring_header(ring, line, &header);
    return take(request, ring, line, &header);
}

void mpi_progress(void)
{
    struct ring *ring;
    struct line *line;
    while ((line = mpi_ring_peek(&ring))) {
        struct header header;
        mpi_ring_header(ring, line, &header);
        struct receive *receive = mpi_match_posted(&header);
        if (receive)
            take((struct mpi_request *)receive, ring, line, &header);
        else {
            keep(ring, line, &header);
            mpi_ring_next(ring, line);
        }
    }
    if (mpi_activities)
        mpi_resume_activities();
}

/* ---- Receives ---- */

void mpi_start_receive(struct mpi_request *request, int context, int tag)
{
    struct mpi_arrival **at = &mpi_arrived;
    request->complete = request->cancelled = false;
    request->error = MPI_SUCCESS;
    request->receive = (struct receive){.context = context, .source = request->peer, .tag = tag};
    request->status = (MPI_Status){0};
    mpi_progress();
    while (*(at = mpi_match_arrived(at, context, request->peer, tag))) {
        struct mpi_arrival *arrival = mpi_take(at);
        if (!arrival->header.offer || mpi_claim(arrival->header.offer)) {
            mpi_deliver(request, arrival);
            return;
        }
        mpi_give_back(arrival);
    }
    mpi_post(&request->receive);
}

/* ---- Sends ---- */

void mpi_start_send(struct mpi_request *request, int context, int tag)
{
    struct communicator *comm = request->comm;
    struct type *type = request->type;
    int to = comm->peers[request->peer];
    size_t bytes = type->size * request->count;

    request->complete = true;
    request->cancelled = false;
    request->error = MPI_SUCCESS;
    request->status = (MPI_Status){.MPI_SOURCE = MPI_ANY_SOURCE, .MPI_TAG = MPI_ANY_TAG};
    if (request->mode != SYNCHRONOUS) {
        if (mpi_send_now(request->data, request->count, type, request->peer, tag, context, comm))
            return;
        if (bytes <= LINE_DATA) {
            char packed[LINE_DATA];
            mpi_pack(request->data, request->count, type, packed);
            mpi_ring_push(to, context, tag, comm->rank, bytes, packed);
            return;
        }
    }
    struct offer *offer = new_offer(toro_shared_address(request->data), bytes);
    if (request->mode == BUFFER || !type->plain) {
        offer->buffer = mpi_memory(bytes ? bytes : 1);
        mpi_pack(request->data, request->count, request->type, offer->buffer);
        offer->data = offer->buffer;
        if (request->mode != SYNCHRONOUS)
            offer->state = BUFFERED;
    }
    if (offer->state == BUFFERED) {
        mpi_ring_offer(to, context, tag, comm->rank, bytes, offer, NULL);
        return;
    }
    if (offer->buffer) { /* a synchronous one: the sender keeps the packed data */
        request->state = offer->buffer;
        offer->buffer = NULL;
    }
    request->complete = false;
    request->offer = offer;
    request->since = ticks();
    mpi_ring_offer(to, context, tag, comm->rank, bytes, offer, offer->data);
}

static void end_send(struct mpi_request *request)
{
    if (request->state) {
        toro_release(request->state);
        request->state = NULL;
    }
    request->offer = NULL;
    request->complete = true;
}

/* Ends a send that nobody has claimed. */
static void leave_copy(struct mpi_request *request)
{
    struct offer *offer = request->offer;
    int state = OFFERED;
    void *buffer = toro_memory(offer->bytes);
    if (!buffer)
        return;
    mpi_copy(buffer, offer->data, offer->bytes);
    offer->buffer = buffer;
    if (atomic_compare_exchange_strong(&offer->state, &state, BUFFERED))
        end_send(request);
    else
        toro_release(buffer); /* claimed meanwhile */
}

static void check_send(struct mpi_request *request)
{
    static uint64_t patience;
    struct offer *offer = request->offer;
    int state = atomic_load_explicit(&offer->state, memory_order_acquire);

    if (state == COPIED) {
        keep_offer(offer);
        end_send(request);
    } else if (state == CLAIMED) {
        char *target = atomic_load_explicit(&offer->target, memory_order_acquire);
        if (target)
            copy_parts(offer, target, offer->bytes);
    } else if (request->mode == STANDARD && offer->bytes <= BUFFERED_MAX) {
        patience = patience ? patience : toro_ticks(PATIENCE);
        if (ticks() - request->since > patience)
            leave_copy(request);
    }
}

void mpi_check(struct mpi_request *request)
{
    if (request->offer)
        check_send(request);
}

int mpi_send_offer(const void *data, size_t bytes, int peer, int tag, struct communicator *comm)
{
    int rank = comm->peers[peer];
    struct offer *offer = new_offer(toro_shared_address(data), bytes);

    mpi_ring_offer(rank, comm->context, tag, comm->rank, bytes, offer, offer->data);
    for (int turns = TURNS, state = OFFERED; turns && state != CLAIMED; turns--, __builtin_ia32_pause()) {
        state = atomic_load_explicit(&offer->state, memory_order_acquire);
        if (state == COPIED) {
            keep_offer(offer);
            return MPI_SUCCESS;
        }
    }
    struct mpi_request request = {.kind = SEND, .comm = comm, .offer = offer, .since = ticks()};
    mpi_wait(&request);
    return MPI_SUCCESS;
}

bool mpi_withdraw(struct mpi_request *request)
{
    int state = OFFERED;
    if (request->kind == RECEIVE && request->receive.link) {
        mpi_unpost(&request->receive);
        return true;
    }
    if (!request->offer || !atomic_compare_exchange_strong(&request->offer->state, &state, WITHDRAWN))
        return false;
    end_send(request);
    return true;
}

/* ---- For collective operations, and all else within MPI ---- */

void mpi_isend(struct mpi_request *request, const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag,
               struct communicator *comm)
{
    if (mpi_send_now(data, count, mpi_type(type), peer, tag, comm->context + 1, comm)) {
        request->complete = true;
        request->error = MPI_SUCCESS;
        return;
    }
    *request = (struct mpi_request){.kind = SEND, .comm = comm, .data = (void *)data, .count = count, .type = mpi_type(type),
                                    .peer = peer};
    mpi_start_send(request, comm->context + 1, tag);
}

void mpi_ireceive(struct mpi_request *request, void *data, MPI_Count count, MPI_Datatype type, int peer, int tag,
                  struct communicator *comm)
{
    *request = (struct mpi_request){.kind = RECEIVE, .comm = comm, .data = data, .count = count, .type = mpi_type(type),
                                    .peer = peer};
    mpi_start_receive(request, comm->context + 1, tag);
}

int mpi_wait_for(struct mpi_request *requests, int count)
{
    int error = MPI_SUCCESS;
    for (int i = 0; i < count; i++) {
        mpi_wait(&requests[i]);
        error = error ? error : requests[i].error;
    }
    return error;
}
