/* toro/mpi/wait.c as a library, with a clock on which polling is never in vain for long enough. */
#include "wait.c"

struct mailbox mpi_mailboxes[RANKS_MAX];
int mpi_rank;
bool mpi_activity_polls;

static uint64_t stolen;
static int blocked;

bool mpi_pause_activity(bool polls)
{
    (void)polls;
    return false;
}

void mpi_progress(void)
{
}

void mpi_check(struct mpi_request *request)
{
    (void)request;
}

uint64_t toro_ticks(uint32_t microseconds)
{
    return microseconds == SETTLE ? 0 : (uint64_t)1 << 62;
}

uint64_t toro_stolen_ns(void)
{
    return stolen;
}

uint64_t toro_thread(void)
{
    return 0;
}

void toro_yield(void)
{
}

void toro_sleep(uint32_t microseconds)
{
    (void)microseconds;
    blocked++;
}

void toro_block(void)
{
    blocked++;
}

/* How often the rank leaves its CPU in so many rounds of a wait, or of one for what nobody announces, when the host
 * has taken some time from it. */
int wait_for(bool announced, int rounds, uint64_t microseconds)
{
    struct pause pause = {0};
    blocked = 0;
    stolen += microseconds * 1000;
    while (rounds--)
        if (announced)
            mpi_relax(&pause);
        else
            mpi_poll(&pause);
    if (announced)
        mpi_go_on(&pause);
    return blocked;
}
