"""Run the checks of VFIO against edu, NVMe and igb, all in one boot."""

import sys

import vfio_config
import vfio_edu
import vfio_lab
import vfio_nvme
import vfio_raw
import vfio_readiness
import vfio_slot

MODULES = (vfio_edu, vfio_raw, vfio_nvme, vfio_config, vfio_slot, vfio_readiness)
CHECKS = [check for module in MODULES for check in module.CHECKS]

if __name__ == "__main__":
    only = sys.argv[1:]
    vfio_lab.bind("edu", "first", "second", "disk", "network", "memory", "shared")
    vfio_lab.run(CHECKS, *only)
