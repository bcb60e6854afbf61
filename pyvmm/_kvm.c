/* The vCPU run loop, the bus that exits are served on, and vCPU threads.
 *
 * A vCPU leaves vcpu_run() only for what C does not know: a port or address
 * that Python serves, a shutdown, an error, or vcpu_stop().  With
 * vcpu_start() it runs in a thread of its own that never takes the GIL; for
 * such an exit the thread writes to an eventfd and sleeps on a semaphore
 * until vcpu_resume(). */
#define _GNU_SOURCE
#include "kvm.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define THREAD_STACK (64 << 10)

/* Breaks a vCPU thread out of KVM_RUN or of a blocking write.  Its handler
 * does nothing: that a system call returns EINTR is all it is for. */
#define KICK_SIGNAL SIGRTMIN

static void kicked(int signal)
{
    (void)signal;
}

static void install_kick(void)
{
    struct sigaction action = {.sa_handler = kicked};
    sigaction(KICK_SIGNAL, &action, NULL);
}

/* ---- bus ---------------------------------------------------------------- */

/* Adds a region.  Fails with ENOSPC, or EEXIST where it overlaps another. */
int bus_add(struct bus *bus, bool mmio, uint64_t base, uint64_t size,
            bus_handler *handler, void *device)
{
    struct bus_region *regions = mmio ? bus->mmio : bus->pio;
    uint32_t *count = mmio ? &bus->mmio_count : &bus->pio_count;

    if (*count == BUS_REGIONS) {
        errno = ENOSPC;
        return -1;
    }
    for (uint32_t i = 0; i < *count; i++)
        if (base < regions[i].base + regions[i].size &&
            regions[i].base < base + size) {
            errno = EEXIST;
            return -1;
        }
    regions[(*count)++] = (struct bus_region){base, size, handler, device};
    return 0;
}

static const struct bus_region *find_region(const struct vcpu *vcpu, bool mmio)
{
    const struct bus *bus = vcpu->bus;
    const struct bus_region *region = mmio ? bus->mmio : bus->pio;
    const struct bus_region *end = region + (mmio ? bus->mmio_count : bus->pio_count);

    for (; region < end; region++) {
        uint64_t offset = vcpu->address - region->base;
        if (offset < region->size && vcpu->size <= region->size - offset)
            return region;
    }
    return NULL;
}

/* RAM that no slot covered: makes one, and does this one access by hand.  What
 * cannot be had ends the vCPU. */
static bool ram_access(struct vcpu *vcpu, uint8_t *ram)
{
    if (slots_cover(vcpu->bus->slots, vcpu->address) < 0) {
        vcpu->error = errno;
        return false;
    }
    if (vcpu->write)
        memcpy(ram, vcpu->data, vcpu->size);
    else
        memcpy(vcpu->data, ram, vcpu->size);
    return true;
}

/* Serves the access described in `vcpu`, or returns false to leave it to
 * Python.  What no region claims reads as all ones, and writes are lost, as on
 * a bus where nothing answers. */
static bool bus_access(struct vcpu *vcpu, bool mmio)
{
    const struct bus_region *region = find_region(vcpu, mmio);
    uint8_t *ram;

    if (region && !region->handler)
        return false;
    if (mmio && vcpu->bus->slots &&
        (ram = ram_at(vcpu->bus->ram, vcpu->address, vcpu->size)))
        return ram_access(vcpu, ram);
    if (region)
        return region->handler(region->device, vcpu, vcpu->write,
                               vcpu->address - region->base, vcpu->data,
                               vcpu->size, vcpu->count);
    if (!vcpu->write)
        memset(vcpu->data, 0xff, (size_t)vcpu->size * vcpu->count);
    return true;
}

/* Copies up to `length` bytes from guest-virtual `address`, within one page.
 * Returns how many it was. */
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
 * line of text would be 80 exits of up to 70 us.  So the first byte's exit is
 * made to serve them all, up to the end of the page: the rest of the string is
 * read from guest memory, and the registers, which KVM_CAP_SYNC_REGS puts into
 * kvm_run, are set to where the instruction would leave them.  (Segment bases
 * are taken to be 0, as in every guest that has left real mode.) */
static void gather_string(struct vcpu *vcpu)
{
    static const uint8_t rep_outsb[] = {0xf3, 0x6e};
    struct kvm_regs *regs = &vcpu->run->s.regs.regs;
    uint8_t code[sizeof rep_outsb];
    uint64_t rest = regs->rcx;
    uint32_t copied;

    /* RIP may also be past a plain OUT and at a REP OUTSB that has not begun:
     * to the same port they are one string, to another they are not. */
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

static bool serve(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
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
        /* Maybe it was RAM that no slot covered. */
        if (vcpu->bus->slots && slots_cover_all(vcpu->bus->slots) > 0)
            return true;
        vcpu->suberror = run->internal.suberror;
        if (vcpu->suberror == KVM_INTERNAL_ERROR_EMULATION && vcpu_emulate(vcpu))
            return true;
        vcpu->details = run->internal.ndata < 16 ? run->internal.ndata : 16;
        memcpy(vcpu->detail, run->internal.data, vcpu->details * sizeof(uint64_t));
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

/* Runs the guest until something that C does not serve.  Returns KVM_EXIT_*,
 * VCPU_STOPPED or VCPU_FAILED. */
int vcpu_run(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    vcpu->thread = pthread_self();
    atomic_store(&vcpu->running, true);
    if (!vcpu->first_run_ns)
        vcpu->first_run_ns = clock_ns(CLOCK_MONOTONIC);
    for (;;) {
        if (atomic_load(&vcpu->stop)) {
            vcpu->reason = VCPU_STOPPED;
            break;
        }
        if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
            /* EAGAIN: an AP that waited for its SIPI was woken. */
            if (errno == EINTR || errno == EAGAIN)
                continue;
            vcpu->error = errno;
            vcpu->reason = VCPU_FAILED;
            break;
        }
        if (run->exit_reason < VCPU_EXIT_KINDS)
            vcpu->exits[run->exit_reason]++;
        if (!serve(vcpu)) {
            vcpu->reason = vcpu->error ? VCPU_FAILED : (int)run->exit_reason;
            break;
        }
    }
    atomic_store(&vcpu->running, false);
    return vcpu->reason;
}

/* Takes over a vCPU's file descriptor and maps its kvm_run area of `run_size`
 * bytes (KVM_GET_VCPU_MMAP_SIZE).  Returns -1 with errno set on failure, and
 * then the descriptor is still the caller's. */
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
    install_kick();
    return 0;
}

void vcpu_close(struct vcpu *vcpu)
{
    munmap(vcpu->run, vcpu->run_size);
    close(vcpu->fd);
    sem_destroy(&vcpu->resume);
    vcpu->run = NULL;
    vcpu->fd = -1;
}

/* ---- threads ------------------------------------------------------------ */

static void *vcpu_thread(void *arg)
{
    struct vcpu *vcpu = arg;
    const uint64_t one = 1;
    int reason;

    do {
        reason = vcpu_run(vcpu);
        atomic_store(&vcpu->exited, true);
        if (write(vcpu->event_fd, &one, sizeof one) < 0)
            break;
        if (reason >= 0)
            while (sem_wait(&vcpu->resume) < 0 && errno == EINTR)
                ;
    } while (reason >= 0);
    return NULL;
}

/* Runs the vCPU in a thread of its own, named vcpuN and pinned to host CPU
 * `cpu` (-1: not pinned).  Each exit that C does not serve sets vcpu->exited
 * and adds one to `event_fd`; the vCPU then waits for vcpu_resume().  Returns
 * 0 or an errno. */
int vcpu_start(struct vcpu *vcpu, int event_fd, int cpu)
{
    sigset_t all, old;
    pthread_attr_t attr;
    char name[16], own[16];
    int error;

    vcpu->event_fd = event_fd;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    if (cpu >= 0) {
        /* The kernel knows CPUs beyond CPU_SETSIZE; the mask must reach them. */
        size_t size = CPU_ALLOC_SIZE((size_t)cpu + 1);
        cpu_set_t *set = CPU_ALLOC((size_t)cpu + 1);
        if (!set)
            return ENOMEM;
        CPU_ZERO_S(size, set);
        CPU_SET_S((size_t)cpu, size, set);
        pthread_attr_setaffinity_np(&attr, size, set);
        CPU_FREE(set);
    }
    /* Signals are the main thread's, but for the kick. */
    sigfillset(&all);
    sigdelset(&all, KICK_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    /* A thread has the name of its creator at first: to give it another later
     * takes four system calls. */
    snprintf(name, sizeof name, "vcpu%d", vcpu->index);
    prctl(PR_GET_NAME, own);
    prctl(PR_SET_NAME, name);
    error = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
    prctl(PR_SET_NAME, own);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

/* Whether the vCPU waits for vcpu_resume(), or has ended. */
bool vcpu_has_exited(struct vcpu *vcpu)
{
    return atomic_load(&vcpu->exited);
}

/* Lets a vCPU go on after its exit has been served. */
void vcpu_resume(struct vcpu *vcpu)
{
    atomic_store(&vcpu->exited, false);
    sem_post(&vcpu->resume);
}

/* Makes the vCPU return VCPU_STOPPED, at once and for good: immediate_exit
 * stops a KVM_RUN about to begin, the signal one that has begun. */
void vcpu_stop(struct vcpu *vcpu)
{
    if (!vcpu->run) /* closed */
        return;
    atomic_store(&vcpu->stop, true);
    vcpu->run->immediate_exit = 1;
    if (atomic_load(&vcpu->running))
        pthread_kill(vcpu->thread, KICK_SIGNAL);
    sem_post(&vcpu->resume);
}

/* Waits for the end of the thread of a stopped vCPU.  It may have been about
 * to block in a write when vcpu_stop() kicked it: kick on. */
void vcpu_join(struct vcpu *vcpu)
{
    struct timespec until;

    for (;;) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_timedjoin_np(vcpu->thread, NULL, &until) != ETIMEDOUT)
            return;
        pthread_kill(vcpu->thread, KICK_SIGNAL);
    }
}
