/* System calls that answer with a value or -errno, so that no error can be overwritten on the way to Python. */
#ifndef VFIOKIT_SHIM_H
#define VFIOKIT_SHIM_H

#include <stdint.h>

/* ioctl(2) with a pointer to a structure; at least 0, or -errno. An interrupted call is made again. */
int vfiokit_ioctl(int fd, unsigned long request, void *argument);

/* ioctl(2) with the argument in the register itself: VFIO_CHECK_EXTENSION, VFIO_SET_IOMMU. */
int vfiokit_ioctl_value(int fd, unsigned long request, unsigned long argument);

#endif
