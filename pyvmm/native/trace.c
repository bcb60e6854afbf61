/* Spans of time.  Room for them is reserved beforehand and costs nothing until it is used; once
 * it is full nothing more is recorded, so that a trace neither waits nor grows for ever. */
#define _GNU_SOURCE
#include "trace.h"
#include "host.h"
#include "sandbox.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Makes room for so many spans.  Returns false with errno set. */
bool trace_open(struct trace *trace, uint32_t room)
{
    void *span = mmap(NULL, room * sizeof *trace->span, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *trace = (struct trace){.span = span == MAP_FAILED ? NULL : span, .room = room};
    return trace->span;
}

void trace_close(struct trace *trace)
{
    if (trace->span)
        munmap(trace->span, trace->room * sizeof *trace->span);
    *trace = (struct trace){0};
}

void trace_add(struct trace *trace, struct trace_span span)
{
    if (trace->count < trace->room)
        trace->span[trace->count++] = span;
    else
        trace->dropped++;
}

/* ---- halts -------------------------------------------------------------------- */

/* Has another vCPU looked at, by its statistics.  Returns false with errno set. */
bool sampler_add(struct sampler *sampler, int fd, uint64_t offset, uint32_t room)
{
    if (!trace_open(&sampler->vcpu[sampler->count].trace, room))
        return false;
    sampler->vcpu[sampler->count].fd = fd;
    sampler->vcpu[sampler->count].offset = offset;
    sampler->count++;
    return true;
}

static void look(struct sampler *sampler, uint32_t index, bool is_last)
{
    uint64_t blocked = 0, now, since = sampler->vcpu[index].since;

    if (pread(sampler->vcpu[index].fd, &blocked, sizeof blocked, (off_t)sampler->vcpu[index].offset) < 0)
        blocked = 0;
    now = clock_ns(CLOCK_MONOTONIC);
    if (blocked && !since)
        sampler->vcpu[index].since = now;
    if (since && (!blocked || is_last)) {
        trace_add(&sampler->vcpu[index].trace, (struct trace_span){.start = since, .end = now});
        sampler->vcpu[index].since = 0;
    }
}

static void *sample(void *argument)
{
    struct sampler *sampler = argument;
    const struct timespec pause = {.tv_nsec = SAMPLER_NS};
    bool stop;

    sandbox_thread(SANDBOX_SAMPLER, -1);
    sem_post(&sampler->ready);
    do {
        stop = atomic_load(&sampler->stop);
        for (uint32_t i = 0; i < sampler->count; i++)
            look(sampler, i, stop);
        nanosleep(&pause, NULL);
    } while (!stop);
    return NULL;
}

/* Looks at the vCPUs from a thread, which is confined when this returns 0; or an errno. */
int sampler_start(struct sampler *sampler)
{
    int error;

    sem_init(&sampler->ready, 0, 0);
    error = thread_start(&sampler->thread, "sampler", NULL, sample, sampler);
    sampler->running = !error;
    while (!error && sem_wait(&sampler->ready) < 0)
        ;
    return error;
}

/* Ends the thread; a halt that is under way ends now. */
void sampler_stop(struct sampler *sampler)
{
    if (!sampler->running)
        return;
    atomic_store(&sampler->stop, true);
    pthread_join(sampler->thread, NULL);
    sampler->running = false;
}

/* The halts of a vCPU. */
struct trace *sampler_trace(struct sampler *sampler, uint32_t vcpu)
{
    return &sampler->vcpu[vcpu].trace;
}

void sampler_close(struct sampler *sampler)
{
    sampler_stop(sampler);
    for (uint32_t i = 0; i < sampler->count; i++)
        trace_close(&sampler->vcpu[i].trace);
    sampler->count = 0;
}
