/* Waits. A rank that waits polls its ring, because another core's answer is there within a
 * microsecond, and an interrupt that wakes a halted core takes tens of them. It blocks, so that the
 * core halts, when that has been in vain for some time: for long if polling mostly succeeds, and
 * for shorter and shorter times if it does not.
 *
 * A rank that does something for another looks afterwards whether that sleeps. For the processor
 * these are a store and then a load, which it may do the other way around; a barrier between them
 * would cost each message as much as the rest of its way. So whoever is about to sleep says so, and
 * goes on polling for longer than a processor keeps a store to itself. Then it has seen what was
 * done by others who have not seen that it sleeps. */
#include "internal.h"

#define POLL_MAX 2000 /* microseconds */
#define POLL_MIN 50
#define SETTLE 50     /* microseconds from the announcement of sleep to sleep */
#define NAP 100       /* where nobody wakes the rank */
#define TURNS 64      /* between looks at the clock and at other threads of this core */
#define STOLEN 200    /* microseconds: less than others run at a time, and more than a wake-up takes */
#define MEMORY 10000  /* microseconds for which the CPU counts as shared afterwards */

static int waiting;         /* threads of this core */
static uint64_t poll_ticks; /* how long to poll */
static uint64_t most, least, settle;

/* Whether the host has lately run something else in this core's place. */
static bool shares_cpu(void)
{
    static uint64_t stolen, last;
    uint64_t now = toro_stolen_ns();
    if (now - stolen > STOLEN * 1000)
        last = ticks();
    stolen = now;
    return last && ticks() - last < toro_ticks(MEMORY);
}

void mpi_relax(struct pause *pause)
{
    struct mailbox *box = &mpi_mailboxes[mpi_rank];

    if (mpi_pause_activity(false))
        return;
    if (!pause->turns++) {
        if (!most) {
            most = poll_ticks = toro_ticks(POLL_MAX);
            least = toro_ticks(POLL_MIN);
            settle = toro_ticks(SETTLE);
        }
        pause->start = ticks();
        waiting++;
        return;
    }
    if (pause->sleep == SETTLED && !mpi_activity_polls) { /* what this thread waits for was looked at once more */
        toro_block();
        box->sleeping = 0;
        pause->sleep = AWAKE;
        pause->start = ticks();
        return;
    }
    __builtin_ia32_pause();
    if (pause->turns % TURNS)
        return;
    toro_yield();
    if (pause->sleep == ANNOUNCED) {
        if (ticks() - pause->start > settle)
            pause->sleep = SETTLED;
        return;
    }
    if (ticks() - pause->start < poll_ticks && !shares_cpu())
        return;
    if (waiting > 1 || mpi_activity_polls) { /* only one thread can be told of to others */
        toro_sleep(NAP);
        return;
    }
    poll_ticks = poll_ticks / 2 > least ? poll_ticks / 2 : least;
    box->thread = toro_thread();
    atomic_store(&box->sleeping, 1); /* a full barrier */
    pause->sleep = ANNOUNCED;
    pause->start = ticks();
}

void mpi_poll(struct pause *pause)
{
    if (mpi_pause_activity(true))
        return;
    if (!pause->turns++)
        pause->start = ticks();
    __builtin_ia32_pause();
    if (pause->turns % TURNS)
        return;
    if (ticks() - pause->start < toro_ticks(POLL_MAX) && !shares_cpu())
        toro_yield();
    else
        toro_sleep(NAP);
}

void mpi_go_on(struct pause *pause)
{
    if (!pause->turns)
        return;
    waiting--;
    if (pause->sleep != AWAKE)
        mpi_mailboxes[mpi_rank].sleeping = 0;
    else if (poll_ticks < most && ticks() - pause->start < poll_ticks)
        poll_ticks = poll_ticks * 2 < most ? poll_ticks * 2 : most;
}

void mpi_wait(struct mpi_request *request)
{
    struct pause pause = {0};
    while (!request->complete) {
        mpi_progress();
        if (!request->complete)
            mpi_check(request);
        if (!request->complete)
            mpi_relax(&pause);
    }
    mpi_go_on(&pause);
}
