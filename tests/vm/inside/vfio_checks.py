"""Run the checks of VFIO against edu, NVMe and igb, all in one boot."""

import sys

import vfio_edu
import vfio_lab
import vfio_nvme
import vfio_raw

CHECKS = [*vfio_edu.CHECKS, *vfio_raw.CHECKS, *vfio_nvme.CHECKS]

if __name__ == "__main__":
    only = sys.argv[1:]
    vfio_lab.bind("edu", "first", "second", "disk", "network")
    vfio_lab.run(CHECKS, *only)
