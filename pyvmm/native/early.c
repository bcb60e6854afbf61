/* Makes what every guest needs of KVM before it is known which guest it will be:
 * while the interpreter starts, a thread opens KVM and makes a VM, its first memory
 * slot and vCPU 0.
 *
 * The size of RAM is not known yet, so the maximum is reserved; the taker sizes the
 * file and unmaps the rest.  The interrupt controller is that of direct boot, so
 * other boot protocols cannot take this VM.  On any failure nothing is left, and the
 * machine makes its own VM and reports the reason. */
#define _GNU_SOURCE
#include "early.h"
#include "host.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static struct early early;
static pthread_t thread;
static bool begun, made;
static void (*begin)(void);

static bool make_cpu(struct early *e)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {EARLY_PINS}};

    if (ioctl(e->vm_fd, KVM_ENABLE_CAP, &cap) < 0 || ioctl(e->vm_fd, KVM_SET_TSS_ADDR, EARLY_TSS) < 0)
        return false;
    e->vcpu_fd = ioctl(e->vm_fd, KVM_CREATE_VCPU, 0);
    return e->vcpu_fd >= 0;
}

/* Makes the VM in this thread.  Returns false, with nothing left open, on failure. */
bool early_make(struct early *e)
{
    struct kvm_userspace_memory_region region = {.memory_size = EARLY_SLOT};

    *e = (struct early){.kvm_fd = -1, .vm_fd = -1, .memory_fd = -1, .vcpu_fd = -1};
    e->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (e->kvm_fd >= 0)
        e->vm_fd = ioctl(e->kvm_fd, KVM_CREATE_VM, 0);
    if (e->vm_fd >= 0)
        e->memory_fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (e->memory_fd >= 0 && ftruncate(e->memory_fd, EARLY_SLOT) == 0)
        e->host = mmap(NULL, EARLY_ROOM, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_NORESERVE, e->memory_fd, 0);
    if (e->host == MAP_FAILED)
        e->host = NULL;
    region.userspace_addr = (uintptr_t)e->host;
    if (e->host && ioctl(e->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0 && make_cpu(e))
        return true;
    early_discard(e);
    return false;
}

void early_discard(struct early *e)
{
    if (e->host)
        munmap(e->host, EARLY_ROOM);
    for (int *fd = &e->vcpu_fd; fd >= &e->kvm_fd; fd--)
        if (*fd >= 0)
            close(*fd);
}

static void *run(void *argument)
{
    (void)argument;
    if (begin)
        begin();
    made = early_make(&early);
    return NULL;
}

/* Starts the thread that makes the VM, after calling `first` if that is not NULL. */
void early_start(void (*first)(void))
{
    begin = first;
    begun = thread_start(&thread, "early", -1, run, NULL) == 0;
}

/* Waits for the thread and hands the VM over.  Returns false if there is none. */
bool early_take(struct early *e)
{
    if (!begun)
        return false;
    pthread_join(thread, NULL);
    begun = false;
    *e = early;
    return made;
}
