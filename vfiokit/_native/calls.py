"""A typed function for each ioctl: values in, values out, a ``VfioError`` when the kernel refuses.

This storey adds nothing to the kernel's interface but types, sizes and errors. Replies of variable length
come back as the bytes that the kernel wrote; :mod:`vfiokit.vfio.replies` reads them.
"""

from vfiokit._native.base_calls import Kernel
from vfiokit._native.container_calls import ContainerCalls
from vfiokit._native.device_calls import DeviceCalls
from vfiokit._native.feature_calls import FeatureCalls
from vfiokit._native.group_calls import GroupCalls
from vfiokit._native.hwpt_calls import HwptCalls
from vfiokit._native.ioas_calls import IoasCalls
from vfiokit._native.power_calls import PowerCalls
from vfiokit._native.viommu_calls import ViommuCalls

__all__ = ["Calls", "Kernel"]


class Calls(
    ContainerCalls,
    PowerCalls,
    GroupCalls,
    DeviceCalls,
    FeatureCalls,
    IoasCalls,
    HwptCalls,
    ViommuCalls,
):
    """Every call, named as the kernel names it, in small letters.

    :param kernel: what answers: the live one, a fake, a recording.

    Threads may share an object: it keeps no state between calls but the names of descriptors.
    """
