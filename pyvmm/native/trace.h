/* Spans of time, recorded by a thread for a timeline (`boot --trace exits=FILE`). */
#ifndef PYVMM_TRACE_H
#define PYVMM_TRACE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "python.h"

PYTHON struct trace_span {
    uint64_t start, end; /* CLOCK_MONOTONIC in ns */
    uint64_t address;    /* of a vCPU's exit: its port or guest-physical address */
    uint32_t kind;       /* of a vCPU: the KVM_EXIT_* that has ended its run */
    uint32_t count;      /* of a turn: events that it served; of an exit: bytes */
    uint32_t write;      /* the guest wrote */
    uint32_t unused;
};

/* The first spans of one thread.  It alone writes; others read when it has ended. */
PYTHON struct trace {
    struct trace_span *span;
    uint32_t room, count;
    uint64_t dropped; /* spans for which there was no room */
};

PYTHON bool trace_open(struct trace *trace, uint32_t room);
PYTHON void trace_close(struct trace *trace);
void trace_add(struct trace *trace, struct trace_span span);

/* The times that vCPUs have halted: KVM tells whether one is blocked now, which is looked at
 * again and again. */
#define SAMPLER_VCPUS 255
#define SAMPLER_NS 250000

struct sampler {
    uint32_t count;
    struct {
        int fd;          /* of KVM_GET_STATS_FD, */
        uint64_t offset; /* and where it says whether the vCPU is blocked */
        uint64_t since;  /* CLOCK_MONOTONIC in ns; 0: it runs */
        struct trace trace;
    } vcpu[SAMPLER_VCPUS];
    pthread_t thread;
    atomic_bool stop;
    bool running;
    sem_t ready; /* it is confined, if it is to be */
};

PYTHON bool sampler_add(struct sampler *sampler, int fd, uint64_t offset, uint32_t room);
PYTHON int sampler_start(struct sampler *sampler);
PYTHON void sampler_stop(struct sampler *sampler);
PYTHON struct trace *sampler_trace(struct sampler *sampler, uint32_t vcpu);
PYTHON void sampler_close(struct sampler *sampler);

#endif
