/* Rounds: clients that ask again as soon as they are answered.
 *
 * To wake a halted core takes as long as several requests.  A guest that has answered all its clients
 * halts.  The first that asks again would wake it for this one request, and all others would wait until
 * it has halted and is awake once more.  So the interrupt waits until all have asked that were answered
 * since the last one, or until none has for a while. */
#include "vsock/vsock.h"

#define ANSWERED_MIN 4u
#define ANSWER_MAX (4u << 10) /* bytes, on average: to read more takes a client longer */
#define WAIT 40000ull         /* ns since the last has asked: a wake-up of a core takes about as long */
#define VAIN 16u              /* rounds that do not wait, after one that has waited in vain */

/* The guest has sent `size` bytes to a client; *answered_in is its stream's. */
void round_answered(struct vsock_round *round, uint32_t *answered_in, uint32_t size)
{
    round->size += size;
    if (*answered_in != round->number) {
        *answered_in = round->number;
        round->answered++;
    }
}

/* The guest has got data of a client. */
void round_asked(struct vsock_round *round, uint32_t *answered_in)
{
    if (*answered_in != round->number)
        return;
    *answered_in = 0;
    round->asked++;
    round->wait_until = 0;
}

/* Whether an interrupt should wait for more, at `now` (CLOCK_MONOTONIC in ns). */
bool round_waits(struct vsock_round *round, uint64_t now)
{
    if (!round->asked || round->asked == round->answered || round->answered < ANSWERED_MIN ||
        round->size / round->answered > ANSWER_MAX || round->vain)
        return false;
    if (!round->wait_until)
        round->wait_until = now + WAIT;
    if (now < round->wait_until)
        return true;
    round->vain = VAIN + 1;
    return false;
}

/* The guest has been interrupted, or did not want to be: the next round begins. */
void round_end(struct vsock_round *round)
{
    round->number = round->number == UINT32_MAX ? 1 : round->number + 1;
    round->answered = round->asked = 0;
    round->size = round->wait_until = 0;
    if (round->vain)
        round->vain--;
}
