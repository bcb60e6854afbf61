/* vCPU threads.
 *
 * A vCPU thread never takes the GIL.  For an exit that Python serves it writes to an
 * eventfd and sleeps on a semaphore until vcpu_resume(). */
#define _GNU_SOURCE
#include "vcpu.h"
#include "host.h"
#include "sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void *vcpu_thread(void *arg)
{
    struct vcpu *vcpu = arg;
    const uint64_t one = 1;
    bool handed_over = atomic_load(&vcpu->exited);
    int reason;

    vcpu->thread_id = gettid();
    sandbox_thread(SANDBOX_VCPU, vcpu->fd);
    do {
        reason = handed_over ? vcpu->reason : vcpu_run(vcpu);
        handed_over = false;
        atomic_store(&vcpu->exited, true);
        if (write(vcpu->event_fd, &one, sizeof one) < 0)
            break;
        if (reason >= 0)
            while (sem_wait(&vcpu->resume) < 0 && errno == EINTR)
                ;
    } while (reason >= 0);
    return NULL;
}

/* Runs the vCPU in a thread named vcpuN, pinned to host CPU `cpu` (-1: not pinned, but to its
 * share if it is one of `vcpus`).  Each exit that C does not serve sets vcpu->exited and adds one to
 * `event_fd`; the vCPU then waits for vcpu_resume(), as one does at once that has exited
 * already.  Returns 0 or an errno. */
int vcpu_start(struct vcpu *vcpu, int event_fd, int cpu, uint32_t vcpus)
{
    struct cpus cpus = cpu >= 0 ? cpus_one(cpu) : cpus_share((uint32_t)vcpu->index, vcpus);
    char name[16];
    int error;

    if (cpu >= 0 && !cpus.set)
        return ENOMEM;
    vcpu->event_fd = event_fd;
    snprintf(name, sizeof name, "vcpu%d", vcpu->index);
    error = thread_start(&vcpu->thread, name, cpus.set ? &cpus : NULL, vcpu_thread, vcpu);
    CPU_FREE(cpus.set);
    return error;
}

/* Whether the vCPU waits for vcpu_resume(), or has ended. */
bool vcpu_has_exited(struct vcpu *vcpu)
{
    return atomic_load(&vcpu->exited);
}

/* Makes a vCPU that the calling thread has run one that a thread goes on with.  It has
 * exited, or was stopped. */
void vcpu_hand_over(struct vcpu *vcpu)
{
    atomic_store(&vcpu->exited, vcpu->reason >= 0);
    atomic_store(&vcpu->stop, false);
    vcpu->run->immediate_exit = 0;
    while (sem_trywait(&vcpu->resume) == 0)
        ; /* vcpu_stop() posts it */
}

/* Lets a vCPU continue after its exit has been served. */
void vcpu_resume(struct vcpu *vcpu)
{
    atomic_store(&vcpu->exited, false);
    sem_post(&vcpu->resume);
}

/* Waits for the thread of a stopped vCPU to end.  It may have been about to block
 * in a write when vcpu_stop() kicked it, so it is kicked until it ends. */
void vcpu_join(struct vcpu *vcpu)
{
    struct timespec until;

    for (;;) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(vcpu->thread, NULL, &until) != ETIMEDOUT)
            return;
        pthread_kill(vcpu->thread, THREAD_KICK_SIGNAL);
    }
}

/* Asks a vCPU to pause, also one that has halted or spins.  It is paused once
 * vcpu_is_paused(), of which event_fd tells; one that waits for vcpu_resume() pauses after
 * that.  Until vcpu_unpause() others may then read and write its registers. */
void vcpu_pause(struct vcpu *vcpu)
{
    vcpu->run->immediate_exit = 1;
    atomic_store(&vcpu->pause, true);
    if (atomic_load(&vcpu->running))
        pthread_kill(vcpu->thread, THREAD_KICK_SIGNAL);
}

bool vcpu_is_paused(struct vcpu *vcpu)
{
    return atomic_load(&vcpu->paused);
}

void vcpu_unpause(struct vcpu *vcpu)
{
    if (!atomic_load(&vcpu->stop))
        vcpu->run->immediate_exit = 0;
    atomic_store(&vcpu->pause, false);
    sem_post(&vcpu->unpause);
}
