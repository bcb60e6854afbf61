/* The MMIO transport of virtio (virtio 1.2, section 4.2). */
#ifndef PYVMM_VIRTIO_MMIO_H
#define PYVMM_VIRTIO_MMIO_H

#include "vcpu.h"
#include "virtio/queue.h"

#define VIRTIO_MMIO_QUEUES 16

/* The owner of the queues (struct queue, and the rings that it points to) is the
 * transport, which serves vCPUs under the lock, or the device.  Only the control thread,
 * which calls virtio_mmio_next(), takes a device to RUNNING and away from it.
 *
 *     SET_UP ── DRIVER_OK ──► STARTING ── next() ──► RUNNING ── needs_reset() ──► BROKEN
 *       ▲                        │                      │                           │
 *       └── Status = 0: at once ─┴── when stopped ──────┴───────────── at once ─────┘
 */
enum virtio_mmio_state {
    VIRTIO_MMIO_SET_UP,   /* transport */
    VIRTIO_MMIO_STARTING, /* nobody; queue registers are fixed */
    VIRTIO_MMIO_RUNNING,  /* device */
    VIRTIO_MMIO_BROKEN,   /* nobody */
};

/* What the control thread must do next. */
PYTHON enum virtio_mmio_step {
    VIRTIO_MMIO_SETTLED,
    VIRTIO_MMIO_START,  /* start the device; it is RUNNING now */
    VIRTIO_MMIO_CHANGE, /* pause it, virtio_mmio_change_queues(), resume it */
    VIRTIO_MMIO_RESET,  /* stop it, virtio_mmio_reset() */
};

/* A queue as its registers describe it (section 4.2.2). */
struct virtio_mmio_queue {
    struct queue *queue;
    int kick_fd; /* eventfd of QueueNotify */
    atomic_uint kicks; /* notifications that were exits */
    uint16_t size;
    uint64_t desc, avail, used;
    bool ready;
    bool change_due, change_to; /* a write to QueueReady while the device runs */
};

struct virtio_mmio {
    pthread_mutex_t lock;
    uint32_t device_id, queue_count;
    uint64_t device_features, driver_features;
    uint32_t device_features_sel, driver_features_sel, queue_sel;
    uint32_t status;
    enum virtio_mmio_state state;
    bool reset_due;     /* Status = 0 was written while the device was running */
    bool features_read; /* the driver has read the device's features */
    struct virtio_mmio_queue queue[VIRTIO_MMIO_QUEUES];

    uint8_t config[256]; /* the device's configuration space */
    uint32_t config_size, config_generation;
    bool used_elsewhere; /* another process fills the used rings and interrupts */
    bool complained; /* logged an access to no register */

    /* irq.c */
    int irq_fd; /* eventfd that raises the interrupt */
    pthread_mutex_t line_lock;
    uint32_t interrupt_status;
    uint32_t unseen; /* bits raised since the driver last read it */
    bool looked;     /* the driver has read it since it last acknowledged */
    int vm_fd;       /* -1: no line */
    uint32_t gsi;
    pthread_t relay;
    bool relaying;
    int relay_epoll_fd, relay_stop_fd;
};

/* What a transport remembers, in a State (docs/frozen-format.md). */
PYTHON struct virtio_queue_saved {
    uint64_t desc, avail, used;
    uint16_t size, next_avail, next_used, signalled_used;
    uint8_t ready, reserved[7];
};

PYTHON struct virtio_mmio_saved {
    uint32_t device_id, queue_count;
    uint64_t driver_features;
    uint32_t device_features_sel, driver_features_sel, queue_sel;
    uint32_t status, interrupt_status, config_generation;
    uint8_t runs, features_read, reserved[6];
    struct virtio_queue_saved queue[16];
};

PYTHON void virtio_mmio_init(struct virtio_mmio *mmio, uint32_t device_id, uint64_t features,
                      int irq_fd);
PYTHON int virtio_mmio_add_queue(struct virtio_mmio *mmio, struct queue *queue, int kick_fd);
PYTHON bus_handler virtio_mmio_access;
PYTHON void virtio_mmio_deliver(struct virtio_mmio *mmio, struct slots *slots, uint64_t address, uint32_t index);
PYTHON void virtio_mmio_set_config(struct virtio_mmio *mmio, const uint8_t *data, uint32_t size);
PYTHON enum virtio_mmio_step virtio_mmio_next(struct virtio_mmio *mmio);
PYTHON bool virtio_mmio_runs(struct virtio_mmio *mmio);
PYTHON int virtio_mmio_change_queues(struct virtio_mmio *mmio);
PYTHON void virtio_mmio_reset(struct virtio_mmio *mmio);
PYTHON void virtio_mmio_needs_reset(struct virtio_mmio *mmio);
PYTHON void virtio_mmio_save(struct virtio_mmio *mmio, struct virtio_mmio_saved *state);
PYTHON bool virtio_mmio_restore(struct virtio_mmio *mmio, const struct virtio_mmio_saved *state,
                                bool needs_reset);

/* irq.c */
PYTHON void virtio_mmio_use_line(struct virtio_mmio *mmio, int vm_fd, uint32_t gsi);
bool virtio_mmio_has_line(const struct virtio_mmio *mmio);
PYTHON void virtio_mmio_interrupt(struct virtio_mmio *mmio);
void virtio_mmio_raise(struct virtio_mmio *mmio, uint32_t reason);
uint32_t virtio_mmio_interrupt_status(struct virtio_mmio *mmio);
void virtio_mmio_acknowledge(struct virtio_mmio *mmio, uint32_t reasons);
void virtio_mmio_forget_interrupts(struct virtio_mmio *mmio);
PYTHON void virtio_mmio_use_elsewhere(struct virtio_mmio *mmio);
PYTHON int virtio_mmio_relay(struct virtio_mmio *mmio);
PYTHON void virtio_mmio_end_relay(struct virtio_mmio *mmio);

#endif
