/* toro/mpi/match.c as a library, for a model in Python: messages and receives are numbers. */
#include "match.c"

#include <stdlib.h>
#include <string.h>

struct numbered {
    struct receive receive;
    int number;
};

void *mpi_memory(size_t size)
{
    return malloc(size);
}

/* A message arrives; the receive that it goes to, or -1: it is kept. */
int arrive(int context, int source, int tag, int number)
{
    struct header header = {.context = context, .source = source, .tag = tag, .bytes = sizeof number};
    struct numbered *receive = (struct numbered *)mpi_match_posted(&header);
    if (!receive) {
        memcpy(mpi_keep(&header), &number, sizeof number);
        return -1;
    }
    int found = receive->number;
    mpi_unpost(&receive->receive);
    free(receive);
    return found;
}

/* The message that a receive finds; -1: none. */
int probe(int context, int source, int tag)
{
    struct mpi_arrival *arrival = *mpi_match_arrived(&mpi_arrived, context, source, tag);
    int found = -1;
    if (arrival)
        memcpy(&found, arrival->data, sizeof found);
    return found;
}

/* The message that a receive takes; -1: none, it is posted. */
int receive(int context, int source, int tag, int number)
{
    struct mpi_arrival **at = mpi_match_arrived(&mpi_arrived, context, source, tag);
    if (*at) {
        int found = probe(context, source, tag);
        mpi_give_back(mpi_take(at));
        return found;
    }
    struct numbered *made = malloc(sizeof *made);
    *made = (struct numbered){{.context = context, .source = source, .tag = tag}, number};
    mpi_post(&made->receive);
    return -1;
}

/* Cancels a receive that is posted. */
void cancel(int number)
{
    struct receive *at = mpi_posted;
    while (((struct numbered *)at)->number != number)
        at = at->next;
    mpi_unpost(at);
    free(at);
}
