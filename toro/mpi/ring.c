/* Each rank has a ring of cells, which all ranks write and it reads. A writer takes a number, which
 * names a cell and its turn; it writes the cell when the turn has come, and so hands it to the
 * reader, which hands it on to the writer of the next round. On x86 stores are seen in their order,
 * so a plain one does that.
 *
 * A message that needs several cells takes as many numbers. The reader hands cells on in their
 * order, so the turn of the last one is that of all; and the writer hands them over by the first. */
#include "internal.h"

#define CELLS 256

SHARED struct mailbox mpi_mailboxes[RANKS_MAX];

static struct cell *cells; /* this rank's */
static uint64_t head;

void mpi_ring_start(int rank)
{
    cells = toro_aligned_memory(CELLS * sizeof *cells, sizeof *cells);
    if (!cells)
        mpi_die("MPI_Init", "no memory");
    memset(cells, 0, CELLS * sizeof *cells);
    for (int i = 0; i < CELLS; i++)
        cells[i].turn = 2 * i;
    mpi_mailboxes[rank].cells = cells;
}

void mpi_wake(int rank)
{
    atomic_thread_fence(memory_order_seq_cst); /* what was done before, then whether the other sleeps */
    if (atomic_load_explicit(&mpi_mailboxes[rank].sleeping, memory_order_relaxed))
        toro_wake(mpi_mailboxes[rank].thread);
}

static uint64_t cells_of(const struct header *header)
{
    if (header->offer || header->bytes <= CELL_DATA)
        return 1;
    return 1 + (header->bytes - CELL_DATA + CELL_MORE - 1) / CELL_MORE;
}

bool mpi_ring_has_room(int rank, const struct header *header)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    uint64_t last = atomic_load_explicit(&box->tail, memory_order_relaxed) + cells_of(header) - 1;

    return atomic_load_explicit(&box->cells[last % CELLS].turn, memory_order_relaxed) == 2 * last;
}

void mpi_ring_push(int rank, const struct header *header, const void *data)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    uint64_t count = cells_of(header), number = atomic_fetch_add(&box->tail, count), last = number + count - 1;
    struct cell *cell = &box->cells[number % CELLS];
    struct pause pause = {0};

    while (atomic_load_explicit(&box->cells[last % CELLS].turn, memory_order_acquire) != 2 * last) {
        mpi_progress(); /* the reader may be waiting for a cell of this rank */
        mpi_poll(&pause);
    }
    cell->header = *header;
    if (count > 1) {
        const char *from = (const char *)data + CELL_DATA;
        size_t left = header->bytes - CELL_DATA;

        mpi_copy(cell->data, data, CELL_DATA);
        for (uint64_t at = number + 1; at < last; at++, from += CELL_MORE, left -= CELL_MORE)
            mpi_copy(box->cells[at % CELLS].more, from, CELL_MORE);
        mpi_copy(box->cells[last % CELLS].more, from, left);
    } else if (!header->offer)
        mpi_copy(cell->data, data, header->bytes);
    atomic_exchange(&cell->turn, 2 * number + 1); /* a full barrier: then, whether the other sleeps */
    if (atomic_load_explicit(&box->sleeping, memory_order_relaxed))
        toro_wake(box->thread);
}

struct cell *mpi_ring_peek(void)
{
    struct cell *cell = &cells[head % CELLS];
    return atomic_load_explicit(&cell->turn, memory_order_acquire) == 2 * head + 1 ? cell : NULL;
}

void mpi_ring_read(const struct cell *cell, void *to, size_t bytes)
{
    char *target = to;
    size_t part = bytes < CELL_DATA ? bytes : CELL_DATA;

    mpi_copy(target, cell->data, part);
    for (uint64_t at = head + 1; target += part, bytes -= part; at++) {
        part = bytes < CELL_MORE ? bytes : CELL_MORE;
        mpi_copy(target, cells[at % CELLS].more, part);
    }
}

void mpi_ring_next(void)
{
    for (uint64_t count = cells_of(&cells[head % CELLS].header); count; count--, head++)
        atomic_store_explicit(&cells[head % CELLS].turn, 2 * (head + CELLS), memory_order_release);
}
