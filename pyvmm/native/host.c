/* Small calls to the host, its KVM and its CPU: what cffi cannot express, or
 * what the Python module that offers it would cost more to import. */
#define _GNU_SOURCE
#include "kvm.h"

#include <cpuid.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

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

uint64_t rdtsc(void)
{
    return __builtin_ia32_rdtsc();
}

uint64_t clock_ns(int clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}

/* Blocks the signals in the calling thread; returns a descriptor to read them
 * from, or -1 with errno set.  One that is ignored, as nohup(1) and shells do
 * for their background jobs, stays so. */
int signal_fd(const int *signals, int count)
{
    struct sigaction action;
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (int i = 0; i < count; i++)
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, signals[i]);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0)
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    return fd;
}

/* A descriptor that is readable once `ns` have passed.  Returns -1 with errno
 * set on failure. */
int timer_fd(uint64_t ns)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)},
    };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0)
        timerfd_settime(fd, 0, &when, NULL);
    return fd;
}

/* Drops signals that nobody has read from the descriptor, closes it, and
 * unblocks them. */
void signal_fd_close(int fd, const int *signals, int count)
{
    struct signalfd_siginfo info;
    sigset_t set;

    while (read(fd, &info, sizeof info) > 0)
        ;
    close(fd);
    sigemptyset(&set);
    for (int i = 0; i < count; i++)
        sigaddset(&set, signals[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Gives a memfd `size` bytes and maps them, without touching a page.  Returns
 * NULL with errno set on failure. */
uint8_t *map_memory(int fd, uint64_t size, uint8_t *reserved)
{
    void *host = MAP_FAILED;

    if (ftruncate(fd, (off_t)size) == 0)
        host = reserved ? reserved
                        : mmap(NULL, size, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (reserved && size < EARLY_ROOM)
        munmap(reserved + size, EARLY_ROOM - size);
    return host == MAP_FAILED ? NULL : host;
}

/* Adds one to eventfd `fd`, unless it is -1. */
void event_raise(int fd)
{
    const uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* the counter is full: the reader knows already */
}
