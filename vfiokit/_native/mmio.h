/* Windows on device memory, and copies that make exactly the accesses that they are told to. */
#ifndef VFIOKIT_MMIO_H
#define VFIOKIT_MMIO_H

#include <stdint.h>

#include "access.h"

/* Map size bytes of a descriptor; 0 or -errno. The mapping is as aligned as its size, for huge pages of the kernel's. */
int vfiokit_window_map(struct vfiokit_window *window, int fd, uint64_t offset, uint64_t size, int writable,
		       int keep_on_fork);

/* Make a window of memory that somebody else keeps. */
void vfiokit_window_over(struct vfiokit_window *window, void *base, uint64_t size);

/* Unmap; nothing for a window that is closed. */
int vfiokit_window_unmap(struct vfiokit_window *window);

/* Copy length bytes in ascending order by accesses of width (1, 2, 4, 8) bytes on the device's side. */
int vfiokit_copy_out(const struct vfiokit_window *window, int64_t offset, void *memory, uint64_t length, int width);
int vfiokit_copy_in(struct vfiokit_window *window, int64_t offset, const void *memory, uint64_t length, int width);

#endif
