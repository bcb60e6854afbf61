/* A 16550A UART (National Semiconductor PC16550D data sheet).
 *
 * Output is written as the guest sends it: a `rep outsb` of a line is one exit
 * and one write(2).  A full pipe blocks the vCPU, so nothing is lost, and nothing
 * is buffered without bound.  A guest that serves others does not wait for ever:
 * what nobody has read for PATIENCE_MS is discarded, and so is the rest until there
 * is room again.  After a failed write all of it is discarded: a closed pipe must
 * not end the guest.  Input is read from the host only once the guest
 * has looked for it, and at most 16 bytes ahead. */
#include "serial.h"
#include "host.h"
#include "vcpu.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 1000
#define POLL_MS 100

enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX 0x01
#define IER_THR_EMPTY 0x02
#define IER_MODEM 0x08
#define IIR_MODEM 0x00
#define IIR_NONE 0x01
#define IIR_THR_EMPTY 0x02
#define IIR_RX 0x04
#define IIR_FIFO 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define LCR_DLAB 0x80
#define MCR_OUT1 0x04
#define MCR_LOOP 0x10
#define LSR_DATA_READY 0x01
#define LSR_TX_EMPTY 0x60 /* THR and shift register */
#define MSR_CONNECTED 0xb0 /* DCD, DSR, CTS */
#define MSR_CARRIER 0x80
#define MSR_CARRIER_CHANGED 0x08

void serial_init(struct serial *serial, int out_fd, int irq_fd, int input_fd)
{
    memset(serial, 0, sizeof *serial);
    pthread_mutex_init(&serial->lock, NULL);
    serial->out_fd = out_fd;
    serial->irq_fd = irq_fd;
    serial->input_fd = input_fd;
    serial->late_fd = -1;
    serial->divisor = 12; /* 9600 baud */
}

static bool carrier_lost(const struct serial *serial)
{
    return serial->hung_up && serial->mcr & MCR_OUT1;
}

static bool modem_irq(const struct serial *serial)
{
    return serial->ier & IER_MODEM && carrier_lost(serial) && !serial->told;
}

static void update_irq(struct serial *serial)
{
    bool line = (serial->ier & IER_RX && serial->rx_len) ||
                (serial->ier & IER_THR_EMPTY && serial->thr_empty) || modem_irq(serial);
    if (line && !serial->irq_line)
        event_raise(serial->irq_fd);
    serial->irq_line = line;
}

static void want_input(struct serial *serial)
{
    if (serial->wants_input)
        return;
    serial->wants_input = true;
    event_raise(serial->input_fd);
}

_Static_assert(sizeof(struct serial_state) == 32, "docs/frozen-format.md");

void serial_save(struct serial *serial, struct serial_state *state)
{
    pthread_mutex_lock(&serial->lock);
    *state = (struct serial_state){
        .ier = serial->ier, .lcr = serial->lcr, .mcr = serial->mcr, .scr = serial->scr, .fcr = serial->fcr,
        .thr_empty = serial->thr_empty, .wants_input = serial->wants_input,
        .rx_len = (uint8_t)serial->rx_len, .divisor = serial->divisor,
    };
    for (uint32_t i = 0; i < serial->rx_len; i++)
        state->rx[i] = serial->rx[(serial->rx_head + i) % SERIAL_FIFO];
    pthread_mutex_unlock(&serial->lock);
}

/* The interrupt that was raised is in the local APIC, or will be raised anew. */
void serial_restore(struct serial *serial, const struct serial_state *state)
{
    serial->ier = state->ier & 0x0f;
    serial->lcr = state->lcr;
    serial->mcr = state->mcr & 0x1f;
    serial->scr = state->scr;
    serial->fcr = state->fcr;
    serial->divisor = state->divisor;
    serial->thr_empty = state->thr_empty;
    serial->rx_len = state->rx_len < SERIAL_FIFO ? state->rx_len : SERIAL_FIFO;
    memcpy(serial->rx, state->rx, SERIAL_FIFO);
    serial->irq_line = false;
    update_irq(serial);
    if (state->wants_input)
        want_input(serial);
}

/* Queues received bytes; returns how many fit. */
static uint32_t receive(struct serial *serial, const uint8_t *data, uint32_t len)
{
    uint32_t n = 0;
    for (; n < len && serial->rx_len < SERIAL_FIFO; n++, serial->rx_len++)
        serial->rx[(serial->rx_head + serial->rx_len) % SERIAL_FIFO] = data[n];
    update_irq(serial);
    return n;
}

/* Passes input to the guest; returns how many bytes fit.  input_fd is signalled when
 * there is room again. */
uint32_t serial_input(struct serial *serial, const uint8_t *data, uint32_t len)
{
    pthread_mutex_lock(&serial->lock);
    uint32_t n = receive(serial, data, len);
    pthread_mutex_unlock(&serial->lock);
    return n;
}

/* Tells the guest that input has ended, once it has read what came before: the modem's carrier
 * is lost.  Only a guest that has set OUT1, which on a PC is connected to nothing, sees that;
 * others keep the line that they know. */
void serial_hang_up(struct serial *serial)
{
    pthread_mutex_lock(&serial->lock);
    serial->hung_up = true;
    update_irq(serial);
    pthread_mutex_unlock(&serial->lock);
}

/* From now on output does not wait for its reader for ever.  `fd` is the output's file
 * with O_NONBLOCK, or a socket. */
void serial_drop_late(struct serial *serial, int fd, bool is_socket)
{
    serial->late_is_socket = is_socket;
    serial->late_fd = fd;
}

/* How many bytes were discarded since the last call, because nobody read them. */
uint64_t serial_lost(struct serial *serial)
{
    return atomic_exchange(&serial->lost, 0);
}

static ssize_t put(struct serial *serial, const uint8_t *data, uint32_t len)
{
    if (serial->late_fd >= 0 && serial->late_is_socket)
        return send(serial->late_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(serial->late_fd >= 0 ? serial->late_fd : serial->out_fd, data, len);
}

/* Called without the lock, as the write may block for long. */
static void transmit(struct serial *serial, struct vcpu *vcpu,
                     const uint8_t *data, uint32_t len)
{
    int waited_ms = 0;

    while (len && serial->out_fd >= 0) {
        ssize_t n = put(serial, data, len);
        if (n >= 0) {
            data += n;
            len -= (uint32_t)n;
            waited_ms = 0;
            if (serial->late_fd >= 0 && atomic_exchange(&serial->is_late, false))
                event_raise(serial->input_fd); /* Python tells how much was lost */
        } else if (errno == EAGAIN) {
            struct pollfd poller = {.fd = serial->out_fd, .events = POLLOUT};
            if (serial->late_fd >= 0 && (serial->is_late || waited_ms >= PATIENCE_MS)) {
                serial->is_late = true;
                serial->lost += len;
                return;
            }
            if (poll(&poller, 1, POLL_MS) == 0)
                waited_ms += POLL_MS;
        } else if (errno != EINTR) {
            serial->out_error = errno;
            serial->out_fd = -1;
            event_raise(serial->input_fd);
        }
        if (atomic_load(&vcpu->stop))
            return;
    }
}

static uint8_t read_register(struct serial *serial, uint64_t reg)
{
    uint8_t value;

    switch (reg) {
    case RBR_THR:
        if (serial->lcr & LCR_DLAB)
            return (uint8_t)serial->divisor;
        if (!serial->rx_len)
            return 0;
        value = serial->rx[serial->rx_head];
        serial->rx_head = (serial->rx_head + 1) % SERIAL_FIFO;
        if (--serial->rx_len == 0)
            event_raise(serial->input_fd);
        update_irq(serial);
        return value;
    case IER:
        return serial->lcr & LCR_DLAB ? serial->divisor >> 8 : serial->ier;
    case IIR_FCR:
        value = serial->fcr & FCR_ENABLE ? IIR_FIFO : 0;
        if (serial->ier & IER_RX && serial->rx_len)
            return value | IIR_RX;
        if (serial->ier & IER_THR_EMPTY && serial->thr_empty) {
            serial->thr_empty = false; /* reading IIR acknowledges it */
            update_irq(serial);
            return value | IIR_THR_EMPTY;
        }
        if (modem_irq(serial))
            return value | IIR_MODEM;
        return value | IIR_NONE;
    case LCR:
        return serial->lcr;
    case MCR:
        return serial->mcr;
    case LSR:
        want_input(serial);
        return LSR_TX_EMPTY | (serial->rx_len ? LSR_DATA_READY : 0);
    case MSR:
        if (serial->mcr & MCR_LOOP) /* OUT2, OUT1, RTS, DTR loop back */
            return (uint8_t)((serial->mcr & 0x0c) << 4 | (serial->mcr & 2) << 3 |
                             (serial->mcr & 1) << 5);
        if (!carrier_lost(serial))
            return MSR_CONNECTED;
        value = (uint8_t)(MSR_CONNECTED & ~MSR_CARRIER) | (serial->told ? 0 : MSR_CARRIER_CHANGED);
        serial->told = true; /* reading MSR acknowledges it */
        update_irq(serial);
        return value;
    default:
        return serial->scr;
    }
}

/* Returns true if `value` is to be transmitted. */
static bool write_register(struct serial *serial, uint64_t reg, uint8_t value)
{
    switch (reg) {
    case RBR_THR:
        if (serial->lcr & LCR_DLAB) {
            serial->divisor = (uint16_t)((serial->divisor & 0xff00) | value);
            return false;
        }
        if (serial->mcr & MCR_LOOP)
            receive(serial, &value, 1);
        serial->thr_empty = false; /* writing THR acknowledges it too */
        update_irq(serial);
        serial->thr_empty = true; /* and the byte is transmitted at once */
        update_irq(serial);
        return !(serial->mcr & MCR_LOOP);
    case IER:
        if (serial->lcr & LCR_DLAB) {
            serial->divisor = (uint16_t)((serial->divisor & 0xff) | value << 8);
            return false;
        }
        if (value & ~serial->ier & IER_THR_EMPTY)
            serial->thr_empty = true;
        serial->ier = value & 0x0f;
        if (serial->ier & IER_RX)
            want_input(serial);
        update_irq(serial);
        return false;
    case IIR_FCR:
        if (value & FCR_CLEAR_RX && serial->rx_len) {
            serial->rx_len = 0;
            event_raise(serial->input_fd);
            update_irq(serial);
        }
        serial->fcr = value;
        return false;
    case LCR:
        serial->lcr = value;
        return false;
    case MCR:
        serial->mcr = value & 0x1f;
        update_irq(serial);
        return false;
    case SCR:
        serial->scr = value;
        return false;
    default: /* LSR and MSR are read-only */
        return false;
    }
}

/* The bus handler.  A wide access reaches neighbouring registers byte by byte,
 * as on the ISA bus. */
bool serial_access(void *device, struct vcpu *vcpu, bool write, uint64_t offset,
                   uint8_t *data, uint32_t size, uint32_t count)
{
    struct serial *serial = device;
    uint32_t sent = 0; /* data[0..sent) is sent with one write */

    pthread_mutex_lock(&serial->lock);
    for (uint32_t i = 0; i < size * count; i++) {
        uint64_t reg = offset + i % size;
        if (!write)
            data[i] = read_register(serial, reg);
        else if (write_register(serial, reg, data[i]))
            data[sent++] = data[i];
    }
    pthread_mutex_unlock(&serial->lock);
    transmit(serial, vcpu, data, sent);
    return true;
}
