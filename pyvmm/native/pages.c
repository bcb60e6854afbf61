/* Finds the pages of a guest's memory that are not zero, without touching the others:
 * of a file by its holes (lseek(2), SEEK_DATA), of a process's own memory by its page
 * tables (Documentation/admin-guide/mm/pagemap.rst in the Linux sources). */
#define _GNU_SOURCE
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ull
#define ENTRIES 512 /* of pagemap, read at once */
#define PRESENT_OR_SWAPPED (3ull << 62)
#define GAP_MIN (4 * PAGE) /* so many zeroes cost less than another run */

static int pagemap_fd = -1; /* stays open: a confined process could not open it again */

/* Opens what pages_find() reads.  Returns -1 with errno set. */
int pages_prepare(void)
{
    if (pagemap_fd < 0)
        pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return pagemap_fd;
}

struct search {
    const struct ram *ram;
    int memory_fd, pagemap_fd;
    uint64_t gap, size; /* zeroes that a run may contain; bytes of RAM so far */
    struct state_run *runs;
    uint32_t count, most;
};

static bool is_zero(const uint8_t *page)
{
    return !page[0] && !memcmp(page, page + 1, PAGE - 1);
}

/* Adds a page that is not zero.  Returns false if there are too many runs. */
static bool add(struct search *search, uint64_t address, uint64_t range_start)
{
    struct state_run *last = search->count ? &search->runs[search->count - 1] : NULL;

    if (last && last->address >= range_start && address - (last->address + last->size) <= search->gap) {
        last->size = address + PAGE - last->address;
        return true;
    }
    if (search->count == search->most)
        return false;
    search->runs[search->count++] = (struct state_run){address, PAGE};
    return true;
}

/* Looks at [at, end) of a range of RAM.  Returns 0, or an errno. */
static int look(struct search *search, uint32_t range, uint64_t at, uint64_t end)
{
    const uint8_t *host = search->ram->region[range].host;
    uint64_t start = search->ram->region[range].start;

    for (; at < end; at += PAGE)
        if (!is_zero(host + at) && !add(search, start + at, start))
            return ENOSPC;
    return 0;
}

static int look_at_file(struct search *search, uint32_t range, uint64_t offset, uint64_t size)
{
    off_t data = (off_t)offset, hole;
    int error = 0;

    while (!error) {
        data = lseek(search->memory_fd, data, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : errno;
        if ((uint64_t)data >= offset + size)
            return 0;
        hole = lseek(search->memory_fd, data, SEEK_HOLE);
        if (hole < 0)
            return errno;
        if ((uint64_t)hole > offset + size)
            hole = (off_t)(offset + size);
        error = look(search, range, (uint64_t)data - offset, (uint64_t)hole - offset);
        data = hole;
    }
    return error;
}

static int look_at_tables(struct search *search, uint32_t range, uint64_t size)
{
    uintptr_t host = (uintptr_t)search->ram->region[range].host;
    uint64_t entries[ENTRIES];
    int error = 0;

    for (uint64_t at = 0; at < size && !error; at += ENTRIES * PAGE) {
        uint64_t count = (size - at) / PAGE < ENTRIES ? (size - at) / PAGE : ENTRIES;
        ssize_t got = pread(search->pagemap_fd, entries, count * sizeof *entries,
                            (off_t)((host + at) / PAGE * sizeof *entries));

        if (got != (ssize_t)(count * sizeof *entries))
            return got < 0 ? errno : EIO;
        for (uint64_t i = 0; i < count && !error; i++)
            if (entries[i] & PRESENT_OR_SWAPPED)
                error = look(search, range, at + i * PAGE, at + (i + 1) * PAGE);
    }
    return error;
}

static int search_all(struct search *search, uint64_t end)
{
    uint64_t offset = 0;
    int error = 0;

    search->count = 0;
    for (uint32_t i = 0; i < search->ram->count && !error; i++) {
        uint64_t start = search->ram->region[i].start, size = search->ram->region[i].size;

        if (start >= end)
            break;
        if (size > end - start)
            size = end - start;
        error = search->memory_fd >= 0 ? look_at_file(search, i, offset, size)
                                       : look_at_tables(search, i, size);
        offset += search->ram->region[i].size;
    }
    return error;
}

/* Finds the pages below guest-physical `end`, and puts them into at most `most` runs,
 * with some that are zero in between.  memory_fd: the file that RAM is, or -1.
 *
 * No vCPU must run.  Pages of a file that is mapped count once they have been touched:
 * the caller does that.  Returns the number of runs, or -1 with errno set. */
int pages_find(const struct ram *ram, int memory_fd, uint64_t end, struct state_run *runs, uint32_t most)
{
    struct search search = {.ram = ram, .memory_fd = memory_fd, .pagemap_fd = -1, .gap = GAP_MIN,
                            .runs = runs, .most = most};
    int error;

    if (memory_fd < 0) {
        if (pages_prepare() < 0)
            return -1;
        search.pagemap_fd = pagemap_fd;
    }
    do
        error = search_all(&search, end);
    while (error == ENOSPC && (search.gap *= 2) < RAM_MAX);
    errno = error;
    return error ? -1 : (int)search.count;
}
