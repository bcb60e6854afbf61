/* Reductions: how they run. Operands are combined in the order of ranks, in groups of neighbours,
 * as operations that do not commute want it. */
#include "internal.h"

/* Combines the elements of all ranks on rank 0, along a binomial tree. Returns where the result is:
 * in `own`, or in another array, which the caller discards. */
static void *reduce_to_first(struct collective *c, void *own, int *result)
{
    struct communicator *comm = c->comm;
    int me = comm->rank;
    MPI_Count count = c->receive_count;
    MPI_Datatype type = c->receive_type;
    void *here = own, *other = NULL;

    for (int bit = 1; bit < comm->size; bit *= 2) {
        if (me & bit) {
            int error = mpi_send(here, count, type, me - bit, c->tag, comm);
            *result = *result ? *result : error;
            break;
        }
        if (me + bit >= comm->size)
            continue;
        other = other ? other : mpi_elements(count, type);
        int error = mpi_receive(other, count, type, me + bit, c->tag, comm);
        *result = *result ? *result : error;
        mpi_combine(here, other, count, type, c->operation);
        void *combined = other;
        other = here;
        here = combined;
    }
    if (other && other != own)
        mpi_discard(other, type);
    return here;
}

/* A copy of what this rank has, to combine with. */
static void *own_elements(struct collective *c)
{
    const void *from = c->send == MPI_IN_PLACE ? c->receive : c->send;
    void *own = mpi_elements(c->receive_count, c->receive_type);
    mpi_copy_typed(from, c->receive_count, c->receive_type, own, c->receive_count, c->receive_type);
    return own;
}

/* The elements of all ranks, on rank 0 of a group; elsewhere null. */
static void *reduced(struct collective *c, struct communicator *comm, int *result)
{
    struct collective within = *c;
    within.comm = comm;
    void *own = own_elements(c), *all = reduce_to_first(&within, own, result);
    if (all != own)
        mpi_discard(own, c->receive_type);
    if (comm->rank == 0)
        return all;
    mpi_discard(all, c->receive_type);
    return NULL;
}

int mpi_run_reduce(struct collective *c)
{
    struct communicator *comm = c->comm;
    int result = MPI_SUCCESS;
    MPI_Count count = c->receive_count;
    MPI_Datatype type = c->receive_type;
    void *all;

    if (comm->local) {
        if (c->root == MPI_PROC_NULL)
            return MPI_SUCCESS;
        if (c->root == MPI_ROOT)
            return mpi_receive(c->receive, count, type, 0, c->tag, comm);
        all = reduced(c, comm->local, &result);
        if (all)
            mpi_send(all, count, type, c->root, c->tag, comm);
    } else {
        all = reduced(c, comm, &result);
        if (all && c->root == 0)
            mpi_copy_typed(all, count, type, c->receive, count, type);
        else if (all)
            mpi_send(all, count, type, c->root, c->tag, comm);
        else if (comm->rank == c->root)
            result = mpi_receive(c->receive, count, type, 0, c->tag, comm);
    }
    if (all)
        mpi_discard(all, type);
    return result;
}

/* ---- All ranks, a power of two of them ---- */

#define SHORT 256 /* bytes for which the stack has room */
#define HALVES_MIN 4096

/* Each rank exchanges what it has with a partner, twice as far away in each round, so that all have
 * everything in the end. */
static int exchange_all(struct collective *c, void *other)
{
    struct communicator *comm = c->comm;
    int me = comm->rank, result = MPI_SUCCESS;
    MPI_Count count = c->receive_count;
    MPI_Datatype type = c->receive_type;
    bool commutes = mpi_commutes(c->operation);

    for (int bit = 1; bit < comm->size; bit *= 2) {
        int error = mpi_exchange(c->receive, count, type, me ^ bit, other, count, type, me ^ bit, c->tag, comm);
        result = result ? result : error;
        if (me & bit || commutes) /* the lower rank's operand comes first */
            mpi_combine(other, c->receive, count, type, c->operation);
        else {
            mpi_combine(c->receive, other, count, type, c->operation);
            mpi_copy_typed(other, count, type, c->receive, count, type);
        }
    }
    return result;
}

/* The same for many elements without gaps, with half the work: each rank combines one part, and keeps
 * half of it for the next partner; then the parts go back the same way. */
static int exchange_halves(struct collective *c, void *other)
{
    struct communicator *comm = c->comm;
    int me = comm->rank, result = MPI_SUCCESS, rounds = 0;
    MPI_Count first = 0, end = c->receive_count, bounds[8][2];
    MPI_Datatype type = c->receive_type;
    size_t size = mpi_type(type)->size;
    const void *from = c->send == MPI_IN_PLACE ? c->receive : c->send;

    for (int bit = comm->size / 2; bit; bit /= 2) {
        MPI_Count middle = first + (end - first) / 2, mine = me & bit ? middle : first;
        MPI_Count theirs = me & bit ? first : middle, mine_count = me & bit ? end - middle : middle - first;
        MPI_Count their_count = end - first - mine_count;
        bounds[rounds][0] = first;
        bounds[rounds++][1] = end;
        int error = mpi_exchange(mpi_at(from, theirs, type), their_count, type, me ^ bit, other, mine_count, type,
                                 me ^ bit, c->tag, comm);
        result = result ? result : error;
        mpi_combine(mpi_at(from, mine, type), other, mine_count, type, c->operation);
        mpi_publish(mpi_at(c->receive, mine, type), other, size * mine_count);
        from = c->receive;
        first = mine;
        end = mine + mine_count;
    }
    for (int bit = 1; bit < comm->size; bit *= 2) {
        MPI_Count *whole = bounds[--rounds], theirs = first == whole[0] ? end : whole[0];
        MPI_Count their_count = whole[1] - whole[0] - (end - first);
        int error = mpi_exchange(mpi_at(c->receive, first, type), end - first, type, me ^ bit,
                                 mpi_at(c->receive, theirs, type), their_count, type, me ^ bit, c->tag, comm);
        result = result ? result : error;
        first = whole[0];
        end = whole[1];
    }
    return result;
}

static int exchange(struct collective *c)
{
    struct type *type = mpi_type(c->receive_type);
    size_t bytes = type->size * c->receive_count;
    _Alignas(16) char here[SHORT];
    bool is_short = type->plain && bytes <= SHORT;
    void *other = is_short ? here : mpi_elements(c->receive_count, c->receive_type);

    bool halves = type->plain && bytes >= HALVES_MIN && c->receive_count >= c->comm->size && c->comm->size > 1 &&
                  mpi_commutes(c->operation);
    if (c->send != MPI_IN_PLACE && !halves)
        mpi_copy_typed(c->send, c->receive_count, c->receive_type, c->receive, c->receive_count, c->receive_type);
    int result = halves ? exchange_halves(c, other) : exchange_all(c, other);
    if (!is_short)
        mpi_discard(other, c->receive_type);
    return result;
}

int mpi_run_allreduce(struct collective *c)
{
    struct communicator *comm = c->comm;
    int result = MPI_SUCCESS;
    MPI_Count count = c->receive_count;
    MPI_Datatype type = c->receive_type;

    if (!comm->local && !(comm->size & (comm->size - 1)))
        return exchange(c);
    struct communicator *within = comm->local ? comm->local : comm;
    void *all = reduced(c, within, &result);
    if (all && comm->local)
        mpi_exchange(all, count, type, 0, c->receive, count, type, 0, c->tag, comm);
    else if (all)
        mpi_copy_typed(all, count, type, c->receive, count, type);
    if (all)
        mpi_discard(all, type);
    struct collective spread = *c;
    spread.comm = within;
    spread.root = 0;
    int error = mpi_run_bcast(&spread);
    return result ? result : error;
}

int mpi_run_reduce_scatter(struct collective *c)
{
    struct communicator *comm = c->comm, *within = comm->local ? comm->local : comm;
    struct collective sum = *c, spread = *c;
    int result = MPI_SUCCESS;
    MPI_Count *counts = mpi_memory(2 * within->size * sizeof *counts), *offsets = counts + within->size;
    MPI_Count total = 0, remote_total = 0;

    for (int i = 0; i < within->size; i++) {
        counts[i] = c->receive_counts ? mpi_number(c->receive_counts, i, c->large_counts) : c->receive_count;
        offsets[i] = total;
        total += counts[i];
    }
    remote_total = total; /* both sides of an intercommunicator have as many elements */
    sum.receive_count = total;
    void *all = reduced(&sum, within, &result);
    if (all && comm->local) {
        void *others = mpi_elements(remote_total, c->receive_type);
        mpi_exchange(all, total, c->receive_type, 0, others, remote_total, c->receive_type, 0, c->tag, comm);
        mpi_discard(all, c->receive_type);
        all = others;
    }
    spread.comm = within;
    spread.root = 0;
    spread.send = all;
    spread.send_counts = counts;
    spread.send_offsets = offsets;
    spread.large_counts = spread.large_offsets = true;
    spread.send_type = c->receive_type;
    spread.receive_count = counts[within->rank];
    int error = mpi_run_scatter(&spread);
    if (all)
        mpi_discard(all, c->receive_type);
    toro_release(counts);
    return result ? result : error;
}

/* From rank to rank: each gets the result of those before it. */
int mpi_run_scan(struct collective *c)
{
    struct communicator *comm = c->comm;
    int result = MPI_SUCCESS;
    MPI_Count count = c->receive_count;
    MPI_Datatype type = c->receive_type;
    void *own = own_elements(c), *before = mpi_elements(count, type);

    if (comm->rank > 0) {
        result = mpi_receive(before, count, type, comm->rank - 1, c->tag, comm);
        mpi_combine(before, own, count, type, c->operation);
    }
    if (comm->rank + 1 < comm->size)
        mpi_send(own, count, type, comm->rank + 1, c->tag, comm);
    if (!c->exclusive)
        mpi_copy_typed(own, count, type, c->receive, count, type);
    else if (comm->rank > 0)
        mpi_copy_typed(before, count, type, c->receive, count, type);
    mpi_discard(own, type);
    mpi_discard(before, type);
    return result;
}
