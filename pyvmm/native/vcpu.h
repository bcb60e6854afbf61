/* A vCPU, its exits and its thread. */
#ifndef PYVMM_VCPU_H
#define PYVMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>

#include "bus.h"
#include "trace.h"

/* Why vcpu_run() returned, besides KVM's exit reasons (which are >= 0). */
#define VCPU_STOPPED (-1) /* vcpu_stop() was called */
#define VCPU_FAILED (-2)  /* KVM_RUN failed: vcpu.error is its errno */

#define VCPU_EXIT_KINDS 64

struct vcpu {
    int fd, index;
    struct kvm_run *run;
    size_t run_size;
    struct bus *bus;

    /* The exit for which vcpu_run() returned, for Python to serve. */
    int reason, error;
    bool write;
    uint64_t address;
    uint32_t size, count;
    uint8_t *data;
    uint64_t detail[16]; /* KVM's details of a failure, `details` words of them */
    uint32_t suberror, details;

    bool debugged; /* an INT3 that KVM cannot execute is an exit, too */
    uint64_t plain_out; /* RIP of an OUT known not to be a string instruction */
    uint8_t string[4096];

    uint64_t first_run_ns;            /* CLOCK_MONOTONIC of the first KVM_RUN */
    uint64_t exits[VCPU_EXIT_KINDS];  /* by KVM_EXIT_*, served in C or not */
    uint64_t emulated; /* instructions that KVM could not execute */
    struct trace *trace; /* of all runs; NULL: there is none */

    pthread_t thread;
    int thread_id;   /* gettid(2), 0 before it runs */
    int event_fd;    /* eventfd that reports an exit */
    sem_t resume;    /* posted when the exit has been served */
    atomic_bool stop, running, exited;
    atomic_bool pause, paused; /* asked to pause; waits for `unpause` */
    sem_t unpause;
};

/* ../_kvm.c */
PYTHON int ioctl_ptr(int fd, unsigned long request, void *argument);
PYTHON int ioctl_int(int fd, unsigned long request, unsigned long argument);
PYTHON void route_ioapic(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint32_t pin);
PYTHON void route_msi(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint64_t address,
                      uint32_t data);
PYTHON int vcpu_init(struct vcpu *vcpu, int fd, size_t run_size, int index, struct bus *bus);
PYTHON void vcpu_close(struct vcpu *vcpu);
PYTHON int vcpu_run(struct vcpu *vcpu);
PYTHON void vcpu_stop(struct vcpu *vcpu);

/* emulate/emulate.c */
PYTHON bool vcpu_emulate(struct vcpu *vcpu);

/* vcpu.c */
PYTHON int vcpu_start(struct vcpu *vcpu, int event_fd, int cpu, uint32_t vcpus);
void vcpu_hand_over(struct vcpu *vcpu);
PYTHON bool vcpu_has_exited(struct vcpu *vcpu);
PYTHON void vcpu_resume(struct vcpu *vcpu);
PYTHON void vcpu_join(struct vcpu *vcpu);
PYTHON void vcpu_pause(struct vcpu *vcpu);
PYTHON bool vcpu_is_paused(struct vcpu *vcpu);
PYTHON void vcpu_unpause(struct vcpu *vcpu);

#endif
