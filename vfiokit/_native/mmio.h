/* Access to device memory: each call makes exactly the accesses that its name says. */
#ifndef VFIOKIT_MMIO_H
#define VFIOKIT_MMIO_H

#include <stdint.h>

/* What a single read returns when it was refused; a 64-bit register may hold it too, so vfiokit_check decides. */
#define VFIOKIT_REFUSED UINT64_MAX

struct vfiokit_window {
	volatile uint8_t *base;		/* of the first byte, null when closed */
	uint64_t size;			/* bytes that may be accessed, 0 when closed */
	uint64_t mapped;		/* bytes to unmap */
	int writable;
};

/* Map size bytes of a descriptor; 0 or -errno. The mapping is as aligned as its size, for huge pages of the kernel's. */
int vfiokit_window_map(struct vfiokit_window *window, int fd, uint64_t offset, uint64_t size, int writable,
		       int keep_on_fork);

/* Make a window of memory that somebody else keeps. */
void vfiokit_window_over(struct vfiokit_window *window, void *base, uint64_t size);

/* Unmap; nothing for a window that is closed. */
int vfiokit_window_unmap(struct vfiokit_window *window);

/* 0, or why an access of width bytes is refused: -EBADF closed, -EFAULT outside, -EINVAL misaligned. */
int vfiokit_check(const struct vfiokit_window *window, int64_t offset, uint64_t width);

uint64_t vfiokit_read8(const struct vfiokit_window *window, int64_t offset);
uint64_t vfiokit_read16(const struct vfiokit_window *window, int64_t offset);
uint64_t vfiokit_read32(const struct vfiokit_window *window, int64_t offset);
uint64_t vfiokit_read64(const struct vfiokit_window *window, int64_t offset);

int vfiokit_write8(struct vfiokit_window *window, int64_t offset, uint8_t value);
int vfiokit_write16(struct vfiokit_window *window, int64_t offset, uint16_t value);
int vfiokit_write32(struct vfiokit_window *window, int64_t offset, uint32_t value);
int vfiokit_write64(struct vfiokit_window *window, int64_t offset, uint64_t value);

/* Everything this processor wrote to memory is visible to the device before the store. */
int vfiokit_doorbell32(struct vfiokit_window *window, int64_t offset, uint32_t value);
int vfiokit_doorbell64(struct vfiokit_window *window, int64_t offset, uint64_t value);

/* Copy length bytes in ascending order by accesses of width (1, 2, 4, 8) bytes on the device's side. */
int vfiokit_copy_out(const struct vfiokit_window *window, int64_t offset, void *memory, uint64_t length, int width);
int vfiokit_copy_in(struct vfiokit_window *window, int64_t offset, const void *memory, uint64_t length, int width);

/* Order stores to memory before later stores to a device, and loads from a device before later loads. */
void vfiokit_release_fence(void);
void vfiokit_acquire_fence(void);

#endif
