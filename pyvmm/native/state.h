/* A State: all that a guest is, as data.  docs/frozen-format.md describes the file; what
 * is here is its beginning, the head: a header, a table of sections, and the sections.
 * The contents of pages follow it. */
#ifndef PYVMM_STATE_H
#define PYVMM_STATE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "python.h"

#define STATE_MAGIC "PYVSTATE"
#define STATE_VERSION 1
#define STATE_HEAD_MAX (16u << 20)
#define STATE_DEVICES 32
#define STATE_CPUS 255
#define STATE_MSRS 64

enum { STATE_PC = 1, STATE_HAS_RUN = 2, STATE_OWN_PIT = 4 }; /* header.flags */

/* Kinds of sections, in the order in which they are in the table. */
PYTHON enum state_kind {
    STATE_KEY,     /* what an entry of the boot cache depends on */
    STATE_PAGES,   /* struct state_run[] */
    STATE_SERIAL,  /* struct serial_state */
    STATE_DEVICE,  /* of each virtio device: its transport, and what it remembers */
    STATE_PIC,     /* struct kvm_irqchip of each PIC */
    STATE_IOAPIC,  /* struct kvm_irqchip */
    STATE_PIT,     /* struct kvm_pit_state2 */
    STATE_CLOCK,   /* struct kvm_clock_data */
    STATE_CPUID,   /* from here on of each vCPU: struct kvm_cpuid2 with its entries */
    STATE_REGS,    /* struct kvm_regs */
    STATE_SREGS,   /* struct kvm_sregs */
    STATE_XCRS,    /* struct kvm_xcrs */
    STATE_XSAVE,   /* struct kvm_xsave */
    STATE_MSR,     /* struct kvm_msr_entry[] */
    STATE_LAPIC,   /* struct kvm_lapic_state */
    STATE_DEBUG,   /* struct kvm_debugregs */
    STATE_EVENTS,  /* struct kvm_vcpu_events */
    STATE_MP,      /* struct kvm_mp_state */
    STATE_TSC,     /* uint64_t: the guest's TSC when it was frozen */
    STATE_KINDS,
};

PYTHON struct state_header {
    char magic[8];
    uint32_t version, sections;
    uint64_t head_size; /* whole pages */
    uint64_t file_size;
    uint64_t head_sum;  /* state_sum() of the head with this field 0 */
    uint64_t pages_sum; /* of what follows the head; 0: not summed */

    uint64_t memory;    /* bytes of RAM */
    uint32_t cpus, flags;
    uint64_t boot_info; /* guest-physical address of the boot-info block; 0: none */
    uint64_t end;       /* slots for [0, end) are made at once; 0: for all RAM */
    uint32_t shutdown_message;
    uint32_t reset_limits; /* two IDT limits of 16 bits with which a triple fault is a reset */
    uint32_t reserved, device_count;
    uint32_t devices[32];  /* the virtio device ID of each slot */
};

PYTHON struct state_section {
    uint32_t kind, index;
    uint64_t offset, size; /* in the head; at a multiple of 8 */
};

/* Contents of consecutive pages; those of all runs follow one another in the file. */
PYTHON struct state_run {
    uint64_t address, size; /* guest-physical, bytes; whole pages, ascending */
};

/* A State that has been checked. */
struct state {
    const struct state_header *header;
    const struct state_section *sections;
    const struct state_run *runs;
    uint32_t run_count;
    void *owned; /* the head, if state_open() has read it */
    int fd;      /* where pages are, or -1 */
    char error[160]; /* what is wrong with it: one line */
};

PYTHON bool state_check(struct state *state, const void *head, uint64_t size, uint64_t file_size);
PYTHON bool state_open(struct state *state, int fd);
PYTHON void state_close(struct state *state);
PYTHON const void *state_section(const struct state *state, enum state_kind kind, uint32_t index,
                                 uint64_t *size);
PYTHON uint64_t state_sum(uint64_t sum, const void *data, uint64_t size);

#endif
