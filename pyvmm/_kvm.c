/* Drives /dev/kvm: ioctls, and the loop around KVM_RUN.
 *
 * vcpu_run() returns only for what C does not serve: a port or address that is Python's,
 * a shutdown, an error, or vcpu_stop(). */
#define _GNU_SOURCE
#include "host.h"
#include "vcpu.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- ioctls ------------------------------------------------------------- */

int ioctl_ptr(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

int ioctl_int(int fd, unsigned long request, unsigned long argument)
{
    return ioctl(fd, request, argument);
}

/* Fill in an entry for KVM_SET_GSI_ROUTING. */
void route_ioapic(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint32_t pin)
{
    *entry = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_IRQCHIP,
        .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = pin},
    };
}

void route_msi(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint64_t address,
               uint32_t data)
{
    *entry = (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)address,
                  .address_hi = (uint32_t)(address >> 32),
                  .data = data},
    };
}

/* The handler of THREAD_KICK_SIGNAL does nothing; the signal's only purpose is to make
 * system calls return EINTR. */
static void kicked(int signal)
{
    (void)signal;
}

static void install_kick(void)
{
    struct sigaction action = {.sa_handler = kicked};
    sigaction(THREAD_KICK_SIGNAL, &action, NULL);
}

/* Copies up to `length` bytes from guest-virtual `address`, within one page.
 * Returns how many were copied. */
static uint32_t copy_from_page(struct vcpu *vcpu, uint64_t address, uint8_t *to,
                               uint64_t length)
{
    struct kvm_translation translation = {.linear_address = address};
    uint64_t room = 4096 - address % 4096;
    const uint8_t *from;

    if (length > room)
        length = room;
    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return 0;
    from = ram_at(vcpu->bus->ram, translation.physical_address, length);
    if (!from)
        return 0;
    memcpy(to, from, length);
    return (uint32_t)length;
}

/* ---- string output ------------------------------------------------------
 *
 * KVM's emulator executes REP OUTSB one byte at a time and exits for each:
 * RCX and RSI have advanced by one, RIP still points at the instruction.  A
 * line of text would take 80 exits of up to 70 us.  So the first byte's exit
 * serves the whole string, up to the end of the page: the rest of it is read
 * from guest memory, and the registers, which KVM_CAP_SYNC_REGS puts into
 * kvm_run, are set to what the instruction would leave in them.  (Segment bases
 * are assumed to be 0, as in every guest that has left real mode.) */
static void gather_string(struct vcpu *vcpu)
{
    static const uint8_t rep_outsb[] = {0xf3, 0x6e};
    struct kvm_regs *regs = &vcpu->run->s.regs.regs;
    uint8_t code[sizeof rep_outsb];
    uint64_t rest = regs->rcx;
    uint32_t copied;

    /* RIP may also be past a plain OUT and at a REP OUTSB that has not begun.  To
     * the same port they form one string, to another port they do not. */
    if (!rest || regs->rip == vcpu->plain_out || regs->rflags & 1u << 10 /* DF */ ||
        (uint16_t)regs->rdx != vcpu->address)
        return;
    if (copy_from_page(vcpu, regs->rip, code, sizeof code) != sizeof code ||
        memcmp(code, rep_outsb, sizeof code)) {
        vcpu->plain_out = regs->rip;
        return;
    }
    if (rest > sizeof vcpu->string - 1)
        rest = sizeof vcpu->string - 1;
    vcpu->string[0] = vcpu->data[0];
    copied = copy_from_page(vcpu, regs->rsi, vcpu->string + 1, rest);
    vcpu->data = vcpu->string;
    vcpu->count += copied;
    regs->rsi += copied;
    regs->rcx -= copied;
    if (!regs->rcx)
        regs->rip += sizeof rep_outsb;
    vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

/* ---- run loop ----------------------------------------------------------- */

/* Whether KVM could not execute an INT3, and a debugger is to know first.  Its details are
 * flags, then a length and the instruction's bytes. */
static bool is_breakpoint(const struct vcpu *vcpu)
{
    const uint8_t *code = (const uint8_t *)&vcpu->run->internal.data[1];

    return vcpu->debugged && vcpu->run->internal.ndata > 1 && code[0] && code[1] == 0xcc;
}

static bool serve(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        if (!bus_wait(vcpu))
            return true;
        vcpu->write = run->io.direction == KVM_EXIT_IO_OUT;
        vcpu->address = run->io.port;
        vcpu->size = run->io.size;
        vcpu->count = run->io.count;
        vcpu->data = (uint8_t *)run + run->io.data_offset;
        if (vcpu->write && vcpu->size == 1 && vcpu->count == 1)
            gather_string(vcpu);
        return bus_access(vcpu, false);
    case KVM_EXIT_MMIO:
        vcpu->write = run->mmio.is_write;
        vcpu->address = run->mmio.phys_addr;
        vcpu->size = run->mmio.len;
        vcpu->count = 1;
        vcpu->data = run->mmio.data;
        return bus_access(vcpu, true);
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return true;
    case KVM_EXIT_INTERNAL_ERROR:
        /* The access may have been to RAM that no slot covers. */
        if (vcpu->bus->slots && slots_cover_all(vcpu->bus->slots) > 0)
            return true;
        vcpu->suberror = run->internal.suberror;
        vcpu->details = run->internal.ndata < 16 ? run->internal.ndata : 16;
        memcpy(vcpu->detail, run->internal.data, vcpu->details * sizeof(uint64_t));
        if (!bus_wait(vcpu))
            return true;
        return vcpu->suberror == KVM_INTERNAL_ERROR_EMULATION && !is_breakpoint(vcpu) && vcpu_emulate(vcpu);
    case KVM_EXIT_DEBUG:
        vcpu->detail[0] = run->debug.arch.exception;
        vcpu->detail[1] = run->debug.arch.dr6;
        vcpu->details = 2;
        return false;
    case KVM_EXIT_FAIL_ENTRY:
        vcpu->detail[0] = run->fail_entry.hardware_entry_failure_reason;
        vcpu->details = 1;
        return false;
    case KVM_EXIT_SYSTEM_EVENT:
        vcpu->detail[0] = run->system_event.type;
        vcpu->details = 1;
        return false;
    default:
        return false;
    }
}

/* Waits until vcpu_unpause().  KVM_RUN has just been interrupted, so KVM has completed
 * the last exit's access: nothing is left of it outside the vCPU's registers. */
static void wait_while_paused(struct vcpu *vcpu)
{
    const uint64_t one = 1;

    atomic_store(&vcpu->paused, true);
    if (write(vcpu->event_fd, &one, sizeof one) < 0)
        return;
    while (atomic_load(&vcpu->pause) && !atomic_load(&vcpu->stop))
        sem_wait(&vcpu->unpause);
    atomic_store(&vcpu->paused, false);
}

/* Records the run that has begun at `start` and ends now, by an exit of this kind. */
static void record(const struct vcpu *vcpu, uint64_t start, uint32_t kind)
{
    const struct kvm_run *run = vcpu->run;
    struct trace_span span = {.start = start, .end = clock_ns(CLOCK_MONOTONIC), .kind = kind};

    if (kind == KVM_EXIT_IO) {
        span.address = run->io.port;
        span.count = run->io.size * run->io.count;
        span.write = run->io.direction == KVM_EXIT_IO_OUT;
    } else if (kind == KVM_EXIT_MMIO) {
        span.address = run->mmio.phys_addr;
        span.count = run->mmio.len;
        span.write = run->mmio.is_write;
    }
    trace_add(vcpu->trace, span);
}

/* Runs the guest until an exit that C does not serve.  Returns KVM_EXIT_*,
 * VCPU_STOPPED or VCPU_FAILED. */
int vcpu_run(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint32_t reason;
    uint64_t start;
    int result;

    vcpu->thread = pthread_self();
    atomic_store(&vcpu->running, true);
    if (!vcpu->first_run_ns)
        vcpu->first_run_ns = clock_ns(CLOCK_MONOTONIC);
    for (;;) {
        if (atomic_load(&vcpu->stop)) {
            vcpu->reason = VCPU_STOPPED;
            break;
        }
        start = vcpu->trace ? clock_ns(CLOCK_MONOTONIC) : 0;
        result = ioctl(vcpu->fd, KVM_RUN, 0);
        if (start)
            record(vcpu, start, result < 0 ? KVM_EXIT_INTR : run->exit_reason);
        if (result < 0) {
            /* EAGAIN: an AP that waits for its SIPI was woken. */
            if (errno == EINTR || errno == EAGAIN) {
                if (atomic_load(&vcpu->pause))
                    wait_while_paused(vcpu);
                continue;
            }
            vcpu->error = errno;
            vcpu->reason = VCPU_FAILED;
            break;
        }
        reason = run->exit_reason;
        if (reason < VCPU_EXIT_KINDS)
            vcpu->exits[reason]++;
        if (!serve(vcpu)) {
            vcpu->reason = vcpu->error ? VCPU_FAILED : (int)reason;
            break;
        }
    }
    atomic_store(&vcpu->running, false);
    return vcpu->reason;
}

/* Takes over a vCPU's file descriptor and maps its kvm_run area of `run_size`
 * bytes (KVM_GET_VCPU_MMAP_SIZE).  Returns -1 with errno set on failure; the
 * descriptor then remains the caller's. */
int vcpu_init(struct vcpu *vcpu, int fd, size_t run_size, int index,
              struct bus *bus)
{
    void *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (run == MAP_FAILED)
        return -1;
    memset(vcpu, 0, sizeof *vcpu);
    vcpu->fd = fd;
    vcpu->index = index;
    vcpu->run = run;
    vcpu->run_size = run_size;
    vcpu->bus = bus;
    vcpu->plain_out = ~0ull;
    vcpu->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    sem_init(&vcpu->resume, 0, 0);
    sem_init(&vcpu->unpause, 0, 0);
    install_kick();
    return 0;
}

void vcpu_close(struct vcpu *vcpu)
{
    munmap(vcpu->run, vcpu->run_size);
    close(vcpu->fd);
    sem_destroy(&vcpu->resume);
    sem_destroy(&vcpu->unpause);
    vcpu->run = NULL;
    vcpu->fd = -1;
}

/* Makes vcpu_run() return VCPU_STOPPED, now and from then on: immediate_exit
 * stops a KVM_RUN that is about to begin, the signal one that has begun. */
void vcpu_stop(struct vcpu *vcpu)
{
    if (!vcpu->run) /* closed */
        return;
    atomic_store(&vcpu->stop, true);
    vcpu->run->immediate_exit = 1;
    if (atomic_load(&vcpu->running))
        pthread_kill(vcpu->thread, THREAD_KICK_SIGNAL);
    sem_post(&vcpu->resume);
    sem_post(&vcpu->unpause);
}
