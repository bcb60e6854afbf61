/* A 16550A UART. */
#ifndef PYVMM_SERIAL_H
#define PYVMM_SERIAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"

#define SERIAL_FIFO 16

struct serial {
    pthread_mutex_t lock;
    int out_fd;       /* transmitted bytes; -1 discards them */
    int irq_fd;       /* eventfd that raises the interrupt, or -1 */
    int input_fd;     /* eventfd: the guest wants input or has room again, or out_error is set */
    int out_error;    /* errno that ended output, or 0 */
    atomic_int late_fd; /* see serial_drop_late(); -1: output waits for its reader */
    bool late_is_socket;
    atomic_bool is_late;      /* output is discarded until it is read again */
    atomic_uint_least64_t lost; /* bytes that were */
    uint8_t ier, lcr, mcr, scr, fcr;
    uint16_t divisor;
    bool thr_empty;   /* THR-empty interrupt not yet acknowledged */
    bool irq_line;
    bool wants_input; /* the guest has looked for input */
    bool hung_up;     /* there is no more input; see serial_hang_up */
    bool told;        /* and the guest has read so */
    uint8_t rx[SERIAL_FIFO];
    uint32_t rx_head, rx_len;
};

/* What it remembers, in a State. */
PYTHON struct serial_state {
    uint8_t ier, lcr, mcr, scr, fcr;
    uint8_t thr_empty, wants_input, rx_len;
    uint16_t divisor;
    uint8_t reserved[6];
    uint8_t rx[16]; /* rx_len bytes in the order of their arrival */
};

PYTHON void serial_save(struct serial *serial, struct serial_state *state);
PYTHON void serial_restore(struct serial *serial, const struct serial_state *state);
PYTHON void serial_init(struct serial *serial, int out_fd, int irq_fd, int input_fd);
PYTHON void serial_drop_late(struct serial *serial, int fd, bool is_socket);
PYTHON uint64_t serial_lost(struct serial *serial);
PYTHON bus_handler serial_access;
PYTHON void serial_hang_up(struct serial *serial);
PYTHON uint32_t serial_input(struct serial *serial, const uint8_t *data, uint32_t len);

#endif
