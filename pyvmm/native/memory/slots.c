/* Memory slots, made when the guest first accesses their memory.
 *
 * Where KVM keeps a reverse map, a slot costs time and memory in proportion to its
 * size (0.5 ms and 2 MiB per GiB were seen), so 512 GiB at once would delay a guest
 * that may never touch them by seconds.  An access to RAM that no slot covers exits
 * like one to MMIO; the vCPU then makes a slot around it and performs this one access
 * itself.  For an instruction that KVM cannot emulate on MMIO it reports no address:
 * then all slots are made, and the instruction is executed again.
 *
 * Slots grow with their number, so there are never many.  SLOTS_MAX suffices whatever
 * a guest touches, in whatever order.  A new slot adds at most one gap, so while there
 * are fewer than SLOTS_FULL slots, each raises the number of slots and gaps together
 * by at most two; from then on a slot fills its whole gap, and their sum stays. */
#include "memory/slots.h"

#include <assert.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

#define WINDOW (128ull << 20) /* bytes of the first SLOTS_A_STEP slots */

_Static_assert(WINDOW << SLOTS_FULL / SLOTS_A_STEP >= 2 * RAM_MAX,
               "the largest window has all RAM in it, and the hole");

/* Records that there is a slot for [start, end). */
void slots_add(struct slots *slots, uint64_t start, uint64_t end)
{
    assert(slots->count < SLOTS_MAX);
    slots->slot[slots->count].start = start;
    slots->slot[slots->count].end = end;
    slots->count++;
}

void slots_init(struct slots *slots, int vm_fd, const struct ram *ram)
{
    pthread_mutex_init(&slots->lock, NULL);
    slots->vm_fd = vm_fd;
    slots->ram = ram;
    slots->count = 0;
}

static int make_slot(struct slots *slots, uint64_t start, uint64_t end)
{
    struct kvm_userspace_memory_region region = {
        .slot = slots->count,
        .guest_phys_addr = start,
        .memory_size = end - start,
        .userspace_addr = (uintptr_t)ram_at(slots->ram, start, end - start),
    };
    if (ioctl(slots->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return -1;
    slots_add(slots, start, end);
    return 0;
}

/* The end of the slot that covers `address`, or 0. */
uint64_t slots_end(const struct slots *slots, uint64_t address)
{
    for (uint32_t i = 0; i < slots->count; i++)
        if (slots->slot[i].start <= address && address < slots->slot[i].end)
            return slots->slot[i].end;
    return 0;
}

/* Finds the gap between slots around `address`; false if a slot covers it, or it is
 * not RAM. */
static bool find_gap(const struct slots *slots, uint64_t address, uint64_t *start,
                     uint64_t *end)
{
    const struct ram *ram = slots->ram;
    uint32_t i;

    for (i = 0; i < ram->count; i++)
        if (address - ram->region[i].start < ram->region[i].size)
            break;
    if (i == ram->count || slots_end(slots, address))
        return false;
    *start = ram->region[i].start;
    *end = *start + ram->region[i].size;
    for (i = 0; i < slots->count; i++) {
        if (slots->slot[i].end <= address && slots->slot[i].end > *start)
            *start = slots->slot[i].end;
        if (slots->slot[i].start > address && slots->slot[i].start < *end)
            *end = slots->slot[i].start;
    }
    return true;
}

/* Chooses the slot to make for guest-physical `address`: the part of the gap around it
 * that is in one window.  Returns false if a slot covers it, or it is not RAM. */
bool slots_choose(const struct slots *slots, uint64_t address, uint64_t *start, uint64_t *end)
{
    uint64_t window = WINDOW << slots->count / SLOTS_A_STEP;

    if (!find_gap(slots, address, start, end))
        return false;
    if (*start < (address & -window))
        *start = address & -window;
    if (*end - *start > window - (*start & (window - 1)))
        *end = *start + window - (*start & (window - 1));
    return true;
}

/* Makes sure that a slot covers guest-physical `address`, if that is RAM.
 * Returns -1 with errno set if KVM has no memory for it. */
int slots_cover(struct slots *slots, uint64_t address)
{
    uint64_t start, end;
    int result = 0;

    pthread_mutex_lock(&slots->lock);
    if (slots_choose(slots, address, &start, &end))
        result = make_slot(slots, start, end);
    pthread_mutex_unlock(&slots->lock);
    return result;
}

/* Covers all RAM.  Returns the number of new slots, or -1 with errno set. */
int slots_cover_all(struct slots *slots)
{
    const struct ram *ram = slots->ram;
    uint64_t start, end;
    int made = 0;

    pthread_mutex_lock(&slots->lock);
    for (uint32_t i = 0; i < ram->count && made >= 0; i++) {
        uint64_t top = ram->region[i].start + ram->region[i].size;
        for (uint64_t at = ram->region[i].start; at < top && made >= 0;) {
            if (!find_gap(slots, at, &start, &end)) {
                at = slots_end(slots, at);
                continue;
            }
            made = make_slot(slots, start, end) < 0 ? -1 : made + 1;
            at = end;
        }
    }
    pthread_mutex_unlock(&slots->lock);
    return made;
}
