/* Reads which host CPUs vCPUs are to run on. */
#define _GNU_SOURCE
#include "pin.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST_CPUS (1u << 17) /* more than any host has */
#define CPU_LAST 99999

/* Reads a decimal number of at most CPU_LAST, and moves `text` behind it. */
static bool read_number(const char **text, uint32_t *number)
{
    const char *start = *text;

    for (*number = 0; **text >= '0' && **text <= '9'; (*text)++)
        if ((*number = *number * 10 + (uint32_t)(**text - '0')) > CPU_LAST)
            return false;
    return *text > start;
}

/* Puts the CPUs of a list such as `0,2-3` into `pins`, as long as there is room.  Returns
 * how many the list has, or -1 if it is none. */
static int64_t read_list(const char *text, const cpu_set_t *allowed, size_t size, uint32_t room, int *pins,
                         int64_t *refused)
{
    int64_t count = 0;
    uint32_t first, last;

    *refused = -1;
    for (;; text++) {
        if (!read_number(&text, &first))
            return -1;
        last = first;
        if (*text == '-' && (text++, !read_number(&text, &last)))
            return -1;
        for (uint32_t cpu = first; cpu <= last; cpu++, count++) {
            if (!CPU_ISSET_S(cpu, size, allowed) && *refused < 0)
                *refused = cpu;
            if (count < room)
                pins[count] = (int)cpu;
        }
        if (*text != ',')
            return *text ? -1 : count;
    }
}

/* A number by which guests begin at different CPUs, which nobody has to keep account of.  Of the
 * process ID all bits count: those of guests that are started one after the other are often as many
 * apart as each has threads. */
static uint32_t turn(void)
{
    return (uint32_t)getpid() * 2654435761u >> 16; /* of Knuth's multiplicative hash */
}

/* `auto` takes one allowed CPU after the other. */
static void take_all(const cpu_set_t *allowed, size_t size, uint32_t cpus, int *pins)
{
    uint64_t skipped = (uint64_t)turn() * cpus % (uint64_t)CPU_COUNT_S(size, allowed);

    for (uint32_t i = 0; i < cpus;)
        for (uint32_t cpu = 0; cpu < HOST_CPUS && i < cpus; cpu++)
            if (CPU_ISSET_S(cpu, size, allowed) && (!skipped || !skipped--))
                pins[i++] = (int)cpu;
}

/* One CPU; no set if there is no memory. */
struct cpus cpus_one(int cpu)
{
    struct cpus cpus = {CPU_ALLOC((size_t)cpu + 1), CPU_ALLOC_SIZE((size_t)cpu + 1)};

    if (cpus.set) {
        CPU_ZERO_S(cpus.size, cpus.set);
        CPU_SET_S((size_t)cpu, cpus.size, cpus.set);
    }
    return cpus;
}

/* The CPUs of one of some vCPUs that nobody has pinned: of those that this process may use, a share
 * that no other vCPU gets, so that none waits while another has its CPU.  The host's scheduler
 * chooses within it.  No set if a vCPU is alone, or there are not CPUs enough.  A guest's vCPUs are
 * asked for in their order, by one thread; guests begin at different shares, as the first vCPU often
 * has the most to do. */
struct cpus cpus_share(uint32_t index, uint32_t vcpus)
{
    static atomic_uint guests;
    static _Thread_local uint32_t first;
    struct cpus cpus = {vcpus > 1 ? CPU_ALLOC(HOST_CPUS) : NULL, CPU_ALLOC_SIZE(HOST_CPUS)};
    uint32_t count = 0, seen = 0;

    if (index == 0)
        first = turn() + guests++;
    if (cpus.set && sched_getaffinity(0, cpus.size, cpus.set) == 0)
        count = (uint32_t)CPU_COUNT_S(cpus.size, cpus.set);
    if (count < vcpus) {
        CPU_FREE(cpus.set);
        cpus.set = NULL;
        return cpus;
    }
    for (uint32_t cpu = 0; seen < count; cpu++)
        if (CPU_ISSET_S(cpu, cpus.size, cpus.set) && seen++ % vcpus != (first + index) % vcpus)
            CPU_CLR_S(cpu, cpus.size, cpus.set);
    return cpus;
}

/* Reads `text` for a machine of `cpus` vCPUs; pins[i] becomes the host CPU of vCPU i. */
enum pin_result pin_read(const char *text, uint32_t cpus, int *pins, uint32_t *detail)
{
    cpu_set_t *allowed = CPU_ALLOC(HOST_CPUS);
    size_t size = CPU_ALLOC_SIZE(HOST_CPUS);
    int64_t count = -1, refused = -1;

    if (!allowed || sched_getaffinity(0, size, allowed) < 0) {
        CPU_FREE(allowed);
        return PIN_NO_LIST;
    }
    if (!strcmp(text, "auto"))
        take_all(allowed, size, count = cpus, pins);
    else
        count = read_list(text, allowed, size, cpus, pins, &refused);
    CPU_FREE(allowed);
    if (count < 0)
        return PIN_NO_LIST;
    *detail = (uint32_t)(refused >= 0 ? refused : count);
    return refused >= 0 ? PIN_NOT_ALLOWED : count < cpus ? PIN_TOO_FEW : PIN_READ;
}
