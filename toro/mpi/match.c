/* Matches messages with receives (MPI 3.1, section 3.5): a message goes to the receive that was
 * posted first, a receive takes the message that came first. */
#include "internal.h"

struct receive *mpi_posted;
struct mpi_arrival *mpi_arrived;

static struct receive **posted_last = &mpi_posted;
static struct mpi_arrival **arrived_last = &mpi_arrived;
static struct mpi_arrival *unused;

static bool matches(const struct header *header, int context, int source, int tag)
{
    return header->context == context && (source == MPI_ANY_SOURCE || header->source == source) &&
           (tag == MPI_ANY_TAG || header->tag == tag);
}

struct receive *mpi_match_posted(const struct header *header)
{
    struct receive *receive = mpi_posted;
    while (receive && !matches(header, receive->context, receive->source, receive->tag))
        receive = receive->next;
    return receive;
}

void mpi_post(struct receive *receive)
{
    receive->next = NULL;
    receive->link = posted_last;
    *posted_last = receive;
    posted_last = &receive->next;
}

void mpi_unpost(struct receive *receive)
{
    *receive->link = receive->next;
    if (receive->next)
        receive->next->link = receive->link;
    else
        posted_last = receive->link;
    receive->link = NULL;
}

struct mpi_arrival **mpi_match_arrived(struct mpi_arrival **at, int context, int source, int tag)
{
    while (*at && !matches(&(*at)->header, context, source, tag))
        at = &(*at)->next;
    return at;
}

void *mpi_keep(const struct header *header)
{
    struct mpi_arrival *arrival = unused;
    if (arrival)
        unused = arrival->next;
    else
        arrival = mpi_memory(sizeof *arrival);
    arrival->next = NULL;
    arrival->header = *header;
    *arrived_last = arrival;
    arrived_last = &arrival->next;
    return arrival->data;
}

struct mpi_arrival *mpi_take(struct mpi_arrival **at)
{
    struct mpi_arrival *arrival = *at;
    *at = arrival->next;
    if (!arrival->next)
        arrived_last = at;
    return arrival;
}

/* The caller of mpi_take gives it back. */
void mpi_give_back(struct mpi_arrival *arrival)
{
    arrival->next = unused;
    unused = arrival;
}
