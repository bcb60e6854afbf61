/* 4-level page tables in guest memory (Intel SDM volume 3, section 4.5).
 *
 * Tables come from an arena and are written through the host's mapping of
 * guest RAM.  paging_map() maps a range to itself with the largest pages that
 * fit; a later call may give a part of it other flags, which splits pages where
 * necessary.  512 GiB take one table with 1 GiB pages, 513 with 2 MiB pages. */
#include "memory/paging.h"

#include <errno.h>
#include <string.h>

#define PRESENT 0x001u
#define WRITABLE 0x002u
#define USER 0x004u
#define PAGE_SIZE_BIT 0x080u
#define ADDRESS 0x000ffffffffff000u
#define ENTRIES 512

static uint64_t *table_at(struct paging *paging, uint64_t address)
{
    return (uint64_t *)(void *)(paging->ram + address);
}

static uint64_t new_table(struct paging *paging)
{
    uint64_t table = paging->next;
    if (table + 4096 > paging->end)
        return 0;
    paging->next += 4096;
    memset(paging->ram + table, 0, 4096);
    return table;
}

/* Takes tables from guest-physical [arena, arena_end), page-aligned and not at 0.
 * Returns -1 (ENOSPC) if not even the root fits. */
int paging_init(struct paging *paging, uint8_t *ram, uint64_t arena,
                uint64_t arena_end, bool gigabyte_pages)
{
    *paging = (struct paging){.ram = ram, .next = arena, .end = arena_end,
                              .gigabyte_pages = gigabyte_pages};
    paging->root = new_table(paging);
    if (!paging->root)
        errno = ENOSPC;
    return paging->root ? 0 : -1;
}

/* Turns a large page, or an absent entry, into a table of the next level. */
static uint64_t split(struct paging *paging, uint64_t entry, uint64_t span)
{
    uint64_t table = new_table(paging), flags, *entries;

    if (!table || !(entry & PRESENT))
        return table;
    span /= ENTRIES;
    flags = entry & ~ADDRESS;
    if (span == 4096)
        flags &= ~(uint64_t)PAGE_SIZE_BIT;
    entries = table_at(paging, table);
    for (uint64_t i = 0; i < ENTRIES; i++)
        entries[i] = ((entry & ADDRESS) + i * span) | flags;
    return table;
}

/* Maps [start, end) in a table whose entries each span `span` bytes, from address
 * `base` on. */
static int map_level(struct paging *paging, uint64_t table, uint64_t base,
                     uint64_t span, uint64_t start, uint64_t end, uint64_t flags)
{
    uint64_t *entries = table_at(paging, table);
    bool leaf = span == 4096 || span == 4096 * ENTRIES ||
                (span == (1u << 30) && paging->gigabyte_pages);

    for (uint64_t at = start; at < end;) {
        uint64_t i = (at - base) / span, low = base + i * span, high = low + span;
        uint64_t stop = end < high ? end : high, child;
        bool is_table = entries[i] & PRESENT && !(entries[i] & PAGE_SIZE_BIT) &&
                        span > 4096;

        if (leaf && at == low && stop == high && !is_table) {
            if (!(flags & PRESENT))
                entries[i] = 0;
            else
                entries[i] = low | flags | (span > 4096 ? PAGE_SIZE_BIT : 0);
        } else {
            child = is_table ? entries[i] & ADDRESS : split(paging, entries[i], span);
            if (!child)
                return -1;
            /* The leaf decides about rights; levels above it allow everything. */
            entries[i] = child | PRESENT | WRITABLE | USER;
            if (map_level(paging, child, low, span / ENTRIES, at, stop, flags) < 0)
                return -1;
        }
        at = stop;
    }
    return 0;
}

/* Maps page-aligned [start, end), below 2^47, to itself with `flags` (bits of
 * a page-table entry; without the present bit the range is unmapped).  Returns
 * -1 (ENOSPC) if the arena is full. */
int paging_map(struct paging *paging, uint64_t start, uint64_t end, uint64_t flags)
{
    if (map_level(paging, paging->root, 0, 1ull << 39, start, end, flags) == 0)
        return 0;
    errno = ENOSPC;
    return -1;
}
