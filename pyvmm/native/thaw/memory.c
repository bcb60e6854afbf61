/* Guest memory of a machine: where it is, what is in it, and KVM's slots for it. */
#define _GNU_SOURCE
#include "thaw/parts.h"
#include "host.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define RUNS_AT_ONCE 64
#define MAPPED_MIN (256u << 10) /* bytes; copying less is faster than mapping it */
#define MAPPED_RUNS 1024        /* so many mappings are no burden */

/* Reserves `size` bytes of RAM without touching a page; `shared`: other processes are to
 * map it. */
bool machine_map(struct machine *m, uint64_t size, bool shared)
{
    m->memory_fd = -1;
    m->memory = size;
    if (shared) {
        m->memory_fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (m->memory_fd < 0)
            return thaw_failed(m, "memfd_create", -1);
    }
    m->host = map_memory(m->memory_fd, size);
    if (m->host) {
        if (!shared) /* shown in /proc/PID/maps, where the kernel can */
            prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, m->host, size, "guest-ram");
        return true;
    }
    thaw_failed(m, "guest memory", -1);
    if (shared)
        close(m->memory_fd);
    m->memory_fd = -1;
    return false;
}

static bool read_runs(struct machine *m, int fd, struct iovec *iov, int count, uint64_t at)
{
    while (count) {
        ssize_t done = preadv(fd, iov, count, (off_t)at);

        if (done <= 0) {
            errno = done ? errno : EIO;
            return thaw_failed(m, "reading its pages", -1);
        }
        at += (uint64_t)done;
        while (count && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++, count--;
        }
        if (count) {
            iov->iov_base = (uint8_t *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return true;
}

/* Copies all runs into the file that RAM is.  Written to the file, which takes half as long
 * as through its mapping, with a page fault each.  (A backend has a mapping of its own, in
 * which nobody could fill in a page when it is touched.) */
static bool copy_runs(struct machine *m, const struct state *state)
{
    uint64_t size = state->header->file_size - state->header->head_size, at = 0;
    uint8_t *from = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, state->fd,
                         (off_t)state->header->head_size);
    bool done = from != MAP_FAILED;

    for (uint32_t i = 0; i < state->run_count && done; i++) {
        const struct state_run *run = &state->runs[i];
        off_t to = ram_at(&m->ram, run->address, run->size) - m->host;

        for (uint64_t part = 0; part < run->size && done;) {
            ssize_t count = pwrite(m->memory_fd, from + at + part, run->size - part, to + (off_t)part);

            done = count > 0;
            part += done ? (uint64_t)count : 0;
        }
        at += run->size;
    }
    if (!done)
        thaw_failed(m, "copying its pages", -1);
    if (from != MAP_FAILED)
        munmap(from, size);
    return done;
}

/* Fills RAM that is this process's alone from the file: large runs are mapped
 * copy-on-write, so that they cost nothing until they are touched and all clones share
 * them. */
static bool fill(struct machine *m, const struct state *state)
{
    bool map = state->run_count <= MAPPED_RUNS;
    uint64_t at = state->header->head_size, start = at;
    struct iovec iov[RUNS_AT_ONCE];
    int count = 0;

    for (uint32_t i = 0; i < state->run_count; i++) {
        const struct state_run *run = &state->runs[i];
        uint8_t *to = ram_at(&m->ram, run->address, run->size);

        if (map && run->size >= MAPPED_MIN) {
            if (!read_runs(m, state->fd, iov, count, start))
                return false;
            if (mmap(to, run->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                     state->fd, (off_t)at) == MAP_FAILED)
                return thaw_failed(m, "mapping its pages", -1);
            count = 0;
            start = at + run->size;
        } else {
            iov[count++] = (struct iovec){to, run->size};
        }
        at += run->size;
        if (count == RUNS_AT_ONCE) {
            if (!read_runs(m, state->fd, iov, count, start))
                return false;
            count = 0;
            start = at;
        }
    }
    return read_runs(m, state->fd, iov, count, start);
}

static bool is_intact(struct machine *m, const struct state *state)
{
    uint64_t sum = 0;

    if (!state->header->pages_sum)
        return true;
    for (uint32_t i = 0; i < state->run_count; i++)
        sum = state_sum(sum, ram_at(&m->ram, state->runs[i].address, state->runs[i].size),
                        state->runs[i].size);
    errno = EIO;
    return sum == state->header->pages_sum || thaw_failed(m, "pages_sum", -1);
}

/* Memory, and slots for the part that the guest starts in. */
bool thaw_memory(struct machine *m, const struct state *state, bool shared)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
    uint64_t end = state->header->end, at = 0;
    int made = 0;

    if (!m->host && !machine_map(m, state->header->memory, shared))
        return false;
    ram_lay_out(&m->ram, m->memory, m->host);
    if (state->run_count &&
        (!(m->memory_fd < 0 ? fill(m, state) : copy_runs(m, state)) || !is_intact(m, state)))
        return false;
    slots_init(&m->slots, m->vm_fd, &m->ram);
    /* Kernels before 5.14 do not exit for an instruction that they cannot emulate. */
    if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) < 0 || !end)
        made = slots_cover_all(&m->slots);
    while (made >= 0 && at < end) {
        made = slots_cover(&m->slots, at);
        at = slots_end(&m->slots, at);
    }
    return made >= 0 || thaw_failed(m, "KVM_SET_USER_MEMORY_REGION", -1);
}
