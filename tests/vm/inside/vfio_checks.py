"""Run the checks of VFIO against edu, NVMe and igb, all in one boot."""

import sys

import vfio_config
import vfio_edu
import vfio_lab
import vfio_nvme
import vfio_raw
import vfio_slot

CHECKS = [*vfio_edu.CHECKS, *vfio_raw.CHECKS, *vfio_nvme.CHECKS, *vfio_config.CHECKS, *vfio_slot.CHECKS]

if __name__ == "__main__":
    only = sys.argv[1:]
    vfio_lab.bind("edu", "first", "second", "disk", "network", "memory", "shared")
    vfio_lab.run(CHECKS, *only)
