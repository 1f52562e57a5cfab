#include "mmio.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_2M (2ull << 20)
#define HUGE_1G (1ull << 30)

/* Where the kernel can map a BAR by 2 MiB or 1 GiB, it does so only for addresses aligned like the BAR. */
static uint64_t alignment_for(uint64_t size)
{
	if (size >= HUGE_1G)
		return HUGE_1G;
	return size >= HUGE_2M ? HUGE_2M : 0;
}

/* Reserve room in which an aligned part of size bytes lies, and give the rest back. */
static void *reserve_aligned(uint64_t size, uint64_t alignment)
{
	uint64_t room = size + alignment;
	uint8_t *start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t skip;

	if (start == MAP_FAILED)
		return NULL;
	skip = -(uint64_t)(uintptr_t)start & (alignment - 1);
	if (skip)
		munmap(start, skip);
	if (room - skip > size)
		munmap(start + skip + size, room - skip - size);
	return start + skip;
}

int vfiokit_window_map(struct vfiokit_window *window, int fd, uint64_t offset, uint64_t size, int writable,
		       int keep_on_fork)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	uint64_t mapped, alignment = alignment_for(size);
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	void *place = NULL, *base;
	int error;

	memset(window, 0, sizeof(*window));
	if (!size || offset & (page - 1) || size > UINT64_MAX - 2 * HUGE_1G)
		return -EINVAL;
	/* A BAR below a page is mapped as a whole page: vfio-pci keeps the rest of it free. */
	mapped = (size + page - 1) & ~(page - 1);
	if (alignment)
		place = reserve_aligned(mapped, alignment);
	base = mmap(place, mapped, protection, MAP_SHARED | (place ? MAP_FIXED : 0), fd, offset);
	if (base == MAP_FAILED) {
		error = -errno;
		if (place)
			munmap(place, mapped);
		return error;
	}
	if (!keep_on_fork && madvise(base, mapped, MADV_DONTFORK) < 0) {
		error = -errno;
		munmap(base, mapped);
		return error;
	}
	window->base = base;
	window->size = size;
	window->mapped = mapped;
	window->writable = writable;
	return 0;
}

void vfiokit_window_over(struct vfiokit_window *window, void *base, uint64_t size)
{
	window->base = base;
	window->size = size;
	window->mapped = 0;
	window->writable = 1;
}

int vfiokit_window_unmap(struct vfiokit_window *window)
{
	void *base = (void *)window->base;
	uint64_t mapped = window->mapped;

	memset(window, 0, sizeof(*window));
	return mapped && munmap(base, mapped) < 0 ? -errno : 0;
}

static int block(const struct vfiokit_window *window, int64_t offset, uint64_t length, int width)
{
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return -EDOM;
	if (!window->size)
		return -EBADF;
	if (offset < 0 || length > window->size || (uint64_t)offset > window->size - length)
		return -EFAULT;
	return ((uint64_t)offset | length) & (width - 1) ? -EINVAL : 0;
}

/* The memory side may have any alignment and is no device: memcpy of a constant size is one plain move. */
#define COPY_OUT(type)                                                                                        \
	for (; length; length -= sizeof(type), device += sizeof(type), plain += sizeof(type)) {              \
		type value = *(const volatile type *)device;                                                  \
		memcpy(plain, &value, sizeof(type));                                                          \
	}

#define COPY_IN(type)                                                                                         \
	for (; length; length -= sizeof(type), device += sizeof(type), plain += sizeof(type)) {              \
		type value;                                                                                   \
		memcpy(&value, plain, sizeof(type));                                                          \
		*(volatile type *)device = value;                                                             \
	}

int vfiokit_copy_out(const struct vfiokit_window *window, int64_t offset, void *memory, uint64_t length, int width)
{
	int error = block(window, offset, length, width);
	const volatile uint8_t *device;
	uint8_t *plain = memory;

	if (error)
		return error;
	device = window->base + offset;
	switch (width) {
	case 1:
		COPY_OUT(uint8_t);
		break;
	case 2:
		COPY_OUT(uint16_t);
		break;
	case 4:
		COPY_OUT(uint32_t);
		break;
	default:
		COPY_OUT(uint64_t);
	}
	return 0;
}

int vfiokit_copy_in(struct vfiokit_window *window, int64_t offset, const void *memory, uint64_t length, int width)
{
	int error = block(window, offset, length, width);
	volatile uint8_t *device;
	const uint8_t *plain = memory;

	if (error)
		return error;
	if (!window->writable)
		return -EROFS;
	device = window->base + offset;
	switch (width) {
	case 1:
		COPY_IN(uint8_t);
		break;
	case 2:
		COPY_IN(uint16_t);
		break;
	case 4:
		COPY_IN(uint32_t);
		break;
	default:
		COPY_IN(uint64_t);
	}
	return 0;
}
