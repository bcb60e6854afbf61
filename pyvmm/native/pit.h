/* An 8254 timer that counts in the time of the guest's TSC. */
#ifndef PYVMM_PIT_H
#define PYVMM_PIT_H

#include <linux/kvm.h>
#include <pthread.h>

#include "bus.h"

#define PIT_PORT 0x40
#define PIT_PORTS 4
#define PIT_GATE_PORT 0x61
#define PIT_GATE_PORTS 1

struct pit {
    pthread_mutex_t lock;
    /* As KVM keeps it, but count_load_time is in ticks of the guest's TSC: when the channel
     * began to count, or, while its gate is closed, for how long it has counted. */
    struct kvm_pit_state2 state;
    uint64_t tsc_hz;     /* of the guest, */
    uint64_t tsc_offset; /* and its TSC minus the host's */
    bool unseen;         /* channel 2 has not been looked at since its gate was opened */
};

PYTHON void pit_init(struct pit *pit, const struct kvm_pit_state2 *state);
PYTHON void pit_save(struct pit *pit, struct kvm_pit_state2 *state);
PYTHON uint8_t pit_read(struct pit *pit, uint64_t port, uint64_t tsc);
PYTHON void pit_write(struct pit *pit, uint64_t port, uint8_t value, uint64_t tsc);
bus_handler pit_access, pit_gate_access;

#endif
