/* What the parts of the MMIO transport share: mmio.c, life.c and saved.c. */
#ifndef PYVMM_VIRTIO_PARTS_H
#define PYVMM_VIRTIO_PARTS_H

#include "virtio/mmio.h"

#define STATUS_OF_DRIVER                                              \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |           \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

/* life.c; all of them under the lock */
bool virtio_mmio_hears_of_changes(const struct virtio_mmio *mmio);
bool virtio_mmio_set_ready(struct virtio_mmio *mmio, struct virtio_mmio_queue *to, bool ready);
void virtio_mmio_clear(struct virtio_mmio *mmio);

#endif
