/* Single accesses to device memory: each makes exactly the access that its name says. */
#ifndef VFIOKIT_ACCESS_H
#define VFIOKIT_ACCESS_H

#include <endian.h>
#include <stdint.h>

struct vfiokit_window {
	volatile uint8_t *base;		/* of the first byte, null when closed */
	uint64_t size;			/* bytes that may be accessed, 0 when closed */
	uint64_t mapped;		/* bytes to unmap */
	int writable;
};

/* Whether an access of width (1, 2, 4, 8) bytes leaves the window or is misaligned; a closed window has no bytes. */
static inline int vfiokit_refused(const struct vfiokit_window *window, int64_t offset, uint64_t width)
{
	return offset < 0 || width > window->size || (uint64_t)offset > window->size - width ||
	       (uint64_t)offset & (width - 1);
}

/* Everything this processor wrote to memory is visible to the device before the next store to it. */
static inline void vfiokit_release_fence(void)
{
#if defined(__x86_64__) || defined(__i386__)
	/* Stores to a write-combining mapping pass older ones without this. */
	__asm__ __volatile__("sfence" ::: "memory");
#elif defined(__aarch64__)
	__asm__ __volatile__("dmb oshst" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* Loads from a device come before later loads from memory. */
static inline void vfiokit_acquire_fence(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ __volatile__("lfence" ::: "memory");
#elif defined(__aarch64__)
	__asm__ __volatile__("dmb oshld" ::: "memory");
#else
	__sync_synchronize();
#endif
}

#define vfiokit_as_is(value) (value)

/* A volatile object of that type is loaded or stored whole. PCI is little endian. Nothing is checked here. */
#define VFIOKIT_ACCESS(bits, from_device, to_device)                                                          \
	static inline uint##bits##_t vfiokit_load##bits(const struct vfiokit_window *window, int64_t offset)  \
	{                                                                                                     \
		return from_device(*(const volatile uint##bits##_t *)(window->base + offset));                \
	}                                                                                                     \
	static inline void vfiokit_store##bits(struct vfiokit_window *window, int64_t offset,                 \
					       uint##bits##_t value)                                          \
	{                                                                                                     \
		*(volatile uint##bits##_t *)(window->base + offset) = to_device(value);                       \
	}

VFIOKIT_ACCESS(8, vfiokit_as_is, vfiokit_as_is)
VFIOKIT_ACCESS(16, le16toh, htole16)
VFIOKIT_ACCESS(32, le32toh, htole32)
VFIOKIT_ACCESS(64, le64toh, htole64)

#endif
