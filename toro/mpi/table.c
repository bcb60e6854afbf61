/* Tables of handles. */
#include "internal.h"

int mpi_table_add(struct table *table, void *entry)
{
    int handle = table->first;
    while (handle < table->size && table->entries[handle])
        handle++;
    if (handle >= table->size) {
        int size = handle < 32 ? 64 : 2 * handle;
        void **entries = mpi_cleared(size * sizeof *entries);
        if (table->entries) {
            memcpy(entries, table->entries, table->size * sizeof *entries);
            toro_release(table->entries);
        }
        table->entries = entries;
        table->size = size;
    }
    table->entries[handle] = entry;
    return handle;
}

void mpi_table_remove(struct table *table, int handle)
{
    table->entries[handle] = NULL;
}
