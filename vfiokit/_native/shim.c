#include "shim.h"

#include <errno.h>
#include <sys/ioctl.h>

int vfiokit_ioctl_value(int fd, unsigned long request, unsigned long argument)
{
	int answer;

	do
		answer = ioctl(fd, request, argument);
	while (answer < 0 && errno == EINTR);
	return answer < 0 ? -errno : answer;
}

int vfiokit_ioctl(int fd, unsigned long request, void *argument)
{
	return vfiokit_ioctl_value(fd, request, (unsigned long)argument);
}
