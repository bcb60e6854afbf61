/* How a virtio-mmio device interrupts.
 *
 * Where interrupts are messages, each is a write to an irqfd.  On a PC a device has a
 * line, a pin of the IOAPIC, which is high while InterruptStatus is not 0: until the
 * driver has acknowledged all of it.  A level-triggered pin interrupts again after EOI
 * if its line is high then; an edge-triggered one when the line rises.  If each interrupt
 * were a pulse, both would lose interrupts: one between the driver's read of
 * InterruptStatus and its EOI would have no effect.
 *
 * Some drivers (those of existing Toro kernels) acknowledge after they have served a
 * device, not before, and would clear what was raised in between.  So an acknowledgement
 * covers only what a read of InterruptStatus has shown; the rest interrupts again.  A
 * driver that acknowledges without having read it acknowledges everything.
 *
 * A process that serves the queues itself (vhost-user) has only an eventfd.  On a PC the
 * relay thread waits for that and raises the line. */
#define _GNU_SOURCE
#include "virtio/mmio.h"
#include "host.h"
#include "sandbox.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Gives the device a line: `gsi` of a VM with an IOAPIC. */
void virtio_mmio_use_line(struct virtio_mmio *mmio, int vm_fd, uint32_t gsi)
{
    mmio->vm_fd = vm_fd;
    mmio->gsi = gsi;
}

bool virtio_mmio_has_line(const struct virtio_mmio *mmio)
{
    return mmio->vm_fd >= 0;
}

static void set_line(struct virtio_mmio *mmio, bool high)
{
    struct kvm_irq_level level = {.irq = mmio->gsi, .level = high};
    ioctl(mmio->vm_fd, KVM_IRQ_LINE, &level);
}

/* Interrupts the driver for a reason, a bit of InterruptStatus. */
void virtio_mmio_raise(struct virtio_mmio *mmio, uint32_t reason)
{
    pthread_mutex_lock(&mmio->line_lock);
    if (virtio_mmio_has_line(mmio) && !mmio->interrupt_status)
        set_line(mmio, true);
    mmio->interrupt_status |= reason;
    mmio->unseen |= reason;
    pthread_mutex_unlock(&mmio->line_lock);
    if (!virtio_mmio_has_line(mmio))
        event_raise(mmio->irq_fd);
}

/* Tells the driver that used rings have new entries. */
void virtio_mmio_interrupt(struct virtio_mmio *mmio)
{
    virtio_mmio_raise(mmio, VIRTIO_MMIO_INT_VRING);
}

/* InterruptStatus, as the driver reads it. */
uint32_t virtio_mmio_interrupt_status(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->line_lock);
    uint32_t status = mmio->interrupt_status;
    mmio->unseen = 0;
    mmio->looked = true;
    pthread_mutex_unlock(&mmio->line_lock);
    return status;
}

/* The driver has written `reasons` to InterruptACK.  The line must fall to make an edge. */
void virtio_mmio_acknowledge(struct virtio_mmio *mmio, uint32_t reasons)
{
    pthread_mutex_lock(&mmio->line_lock);
    uint32_t before = mmio->interrupt_status;
    if (virtio_mmio_has_line(mmio) && mmio->looked)
        reasons &= ~mmio->unseen;
    mmio->interrupt_status = before & ~reasons;
    mmio->looked = false;
    if (virtio_mmio_has_line(mmio) && before) {
        set_line(mmio, false);
        if (mmio->interrupt_status)
            set_line(mmio, true);
    }
    pthread_mutex_unlock(&mmio->line_lock);
}

/* Clears all pending interrupts. */
void virtio_mmio_forget_interrupts(struct virtio_mmio *mmio)
{
    mmio->looked = false;
    virtio_mmio_acknowledge(mmio, ~0u);
}

/* ---- interrupts of another process -------------------------------------------------- */

/* The backend has irq_fd too and could make a read of it block.  So it is never read:
 * edge-triggered epoll reports each write. */
static void *relay_thread(void *arg)
{
    struct virtio_mmio *mmio = arg;
    struct epoll_event event;

    sandbox_thread(SANDBOX_RELAY, -1);
    for (;;) {
        int count = epoll_wait(mmio->relay_epoll_fd, &event, 1, -1);
        if (count < 0 && errno != EINTR)
            break;
        if (count > 0 && event.data.fd == mmio->relay_stop_fd)
            break;
        if (count > 0)
            virtio_mmio_interrupt(mmio);
    }
    return NULL;
}

static int watch(struct virtio_mmio *mmio, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(mmio->relay_epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void close_relay(struct virtio_mmio *mmio)
{
    if (mmio->relay_epoll_fd >= 0)
        close(mmio->relay_epoll_fd);
    if (mmio->relay_stop_fd >= 0)
        close(mmio->relay_stop_fd);
}

static int start_relay(struct virtio_mmio *mmio)
{
    if (mmio->relay_epoll_fd < 0 || mmio->relay_stop_fd < 0 ||
        watch(mmio, mmio->relay_stop_fd, EPOLLIN) < 0 ||
        watch(mmio, mmio->irq_fd, EPOLLIN | EPOLLET) < 0)
        return errno;
    return thread_start(&mmio->relay, "virtio-irq", NULL, relay_thread, mmio);
}

/* From now on another process serves the queues and interrupts by writing to irq_fd. */
void virtio_mmio_use_elsewhere(struct virtio_mmio *mmio)
{
    pthread_mutex_lock(&mmio->lock);
    mmio->used_elsewhere = true;
    pthread_mutex_unlock(&mmio->lock);
}

/* Has another process's writes to irq_fd raise the line, if there is one.  Returns 0 or an
 * errno. */
int virtio_mmio_relay(struct virtio_mmio *mmio)
{
    int error;

    if (!virtio_mmio_has_line(mmio) || mmio->relaying)
        return 0;
    mmio->relay_epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    mmio->relay_stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = start_relay(mmio);
    mmio->relaying = !error;
    if (error)
        close_relay(mmio);
    return error;
}

/* Ends the relay thread, if virtio_mmio_relay() has started it; a confined one ends with
 * the process. */
void virtio_mmio_end_relay(struct virtio_mmio *mmio)
{
    if (!mmio->relaying || sandbox_of_process()->mode)
        return;
    event_raise(mmio->relay_stop_fd);
    pthread_join(mmio->relay, NULL);
    close_relay(mmio);
    mmio->relaying = false;
}
