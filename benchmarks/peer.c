/*
 * The same work in C, compiled -O2: what Python is measured against. Each mode prints nanoseconds per operation.
 *
 *   peer read32 N               32-bit reads of plain memory through a function, checked as ours are
 *   peer copy BYTES N           block copies by 64-bit accesses; and "memcpy BYTES N"
 *   peer fiemap FD N            FS_IOC_FIEMAP that counts the extents of a file: about a microsecond
 *   peer irqinfo FD N           VFIO_DEVICE_GET_IRQ_INFO on an inherited descriptor
 *   peer trigger FD INDEX N     two numbers: software trigger of vector 0 alone, and to an eventfd waited for with epoll
 *   peer map container|iommufd FD IOAS BYTES PAGE N      two numbers: map, unmap
 */
#define _GNU_SOURCE
#include "../vfiokit/_native/mmio.h"
#include "../vfiokit/_native/uapi_compat.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t checked_read32(const struct vfiokit_window *window, int64_t offset)
{
	return vfiokit_refused(window, offset, 4) ? UINT64_MAX : vfiokit_load32(window, offset);
}

static void read32(long n)
{
	static uint8_t memory[4096];
	struct vfiokit_window window;
	uint64_t (*volatile read)(const struct vfiokit_window *, int64_t) = checked_read32;
	double start;
	uint64_t sum = 0;

	vfiokit_window_over(&window, memory, sizeof(memory));
	start = now();
	for (long i = 0; i < n; i++)
		sum += read(&window, 16);
	printf("%f %d\n", (now() - start) / n, (int)(sum & 1));
}

static void copy(long bytes, long n, int plain)
{
	uint8_t *from = malloc(bytes), *to = malloc(bytes);
	struct vfiokit_window window;
	double start;

	memset(from, 1, bytes);
	memset(to, 2, bytes);
	vfiokit_window_over(&window, from, bytes);
	start = now();
	for (long i = 0; i < n; i++) {
		if (plain)
			memcpy(to, from, bytes);
		else
			vfiokit_copy_out(&window, 0, to, bytes, 8);
		__asm__ __volatile__("" ::"r"(to) : "memory");
	}
	printf("%f\n", (now() - start) / n);
}

static void fiemap(int fd, long n)
{
	struct fiemap map;
	double start = now();

	for (long i = 0; i < n; i++) {
		memset(&map, 0, sizeof(map));
		map.fm_length = FIEMAP_MAX_OFFSET;
		if (ioctl(fd, FS_IOC_FIEMAP, &map) < 0)
			die("FS_IOC_FIEMAP");
	}
	printf("%f\n", (now() - start) / n);
}

static void irqinfo(int fd, long n)
{
	struct vfio_irq_info info;
	double start = now();

	for (long i = 0; i < n; i++) {
		memset(&info, 0, sizeof(info));
		info.argsz = sizeof(info);
		info.index = VFIO_PCI_MSI_IRQ_INDEX;
		if (ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
			die("VFIO_DEVICE_GET_IRQ_INFO");
	}
	printf("%f\n", (now() - start) / n);
}

static void trigger(int fd, int index, long n)
{
	char memory[sizeof(struct vfio_irq_set) + 4] = {0};
	struct vfio_irq_set *set = (void *)memory;
	struct epoll_event event = {.events = EPOLLIN};
	int events = eventfd(0, EFD_NONBLOCK), poll = epoll_create1(0);
	uint64_t count;
	double start;

	epoll_ctl(poll, EPOLL_CTL_ADD, events, &event);
	set->argsz = sizeof(memory);
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = index;
	set->count = 1;
	memcpy(set->data, &events, 4);
	if (ioctl(fd, VFIO_DEVICE_SET_IRQS, set) < 0)
		die("VFIO_DEVICE_SET_IRQS");
	set->argsz = sizeof(struct vfio_irq_set);
	set->flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	start = now();
	for (long i = 0; i < n; i++)
		if (ioctl(fd, VFIO_DEVICE_SET_IRQS, set) < 0)
			die("VFIO_DEVICE_SET_IRQS");
	printf("%f ", (now() - start) / n);
	if (read(events, &count, 8) != 8)
		die("read");
	start = now();
	for (long i = 0; i < n; i++) {
		if (ioctl(fd, VFIO_DEVICE_SET_IRQS, set) < 0 || epoll_wait(poll, &event, 1, 1000) != 1 ||
		    read(events, &count, 8) != 8)
			die("interrupt");
	}
	printf("%f\n", (now() - start) / n);
	set->count = 0;
	ioctl(fd, VFIO_DEVICE_SET_IRQS, set);
}

static void map(const char *kind, int fd, int ioas, long bytes, long page, long n)
{
	int shift = 63 - __builtin_clzl(page), huge = page > 4096 ? MAP_HUGETLB | shift << 26 : 0;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);
	uint64_t iova = 0x40000000, address = (uint64_t)memory;
	struct vfio_iommu_type1_dma_map map = {sizeof(map), 3, address, iova, bytes};
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .iova = iova, .size = bytes};
	struct iommu_ioas_map imap = {sizeof(imap), 7, ioas, 0, address, bytes, iova};
	struct iommu_ioas_unmap iunmap = {sizeof(iunmap), ioas, iova, bytes};
	double start, mapped = 0, unmapped = 0;
	int container = !strcmp(kind, "container");

	if (memory == MAP_FAILED)
		die("mmap");
	if (!huge && madvise(memory, bytes, MADV_NOHUGEPAGE) < 0 && errno != EINVAL)
		die("madvise");
	memset(memory, 1, bytes);
	for (long i = 0; i < n; i++) {
		start = now();
		if (ioctl(fd, container ? VFIO_IOMMU_MAP_DMA : IOMMU_IOAS_MAP, container ? (void *)&map : &imap) < 0)
			die("map");
		mapped += now() - start;
		start = now();
		if (ioctl(fd, container ? VFIO_IOMMU_UNMAP_DMA : IOMMU_IOAS_UNMAP,
			  container ? (void *)&unmap : &iunmap) < 0)
			die("unmap");
		unmapped += now() - start;
	}
	printf("%f %f\n", mapped / n, unmapped / n);
}

int main(int count, char **word)
{
	const char *mode = count > 1 ? word[1] : "";
	long number[8] = {0};

	for (int i = 2; i < count && i < 8; i++)
		number[i] = atol(word[i]);
	if (!strcmp(mode, "read32"))
		read32(number[2]);
	else if (!strcmp(mode, "copy") || !strcmp(mode, "memcpy"))
		copy(number[2], number[3], mode[0] == 'm');
	else if (!strcmp(mode, "fiemap"))
		fiemap(number[2], number[3]);
	else if (!strcmp(mode, "irqinfo"))
		irqinfo(number[2], number[3]);
	else if (!strcmp(mode, "trigger"))
		trigger(number[2], number[3], number[4]);
	else if (!strcmp(mode, "map"))
		map(word[2], number[3], number[4], number[5], number[6], number[7]);
	else
		return 2;
	return 0;
}
