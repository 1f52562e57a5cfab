"""Run what only the newest kernel has: newest_checks.py iommu|noiommu [ONLY]."""

import sys

import newest_files
import newest_mock
import newest_noiommu
import vfio_lab

FUNCTIONS = {"iommu": ("edu", "memory", "disk"), "noiommu": ("edu",)}
CHECKS = {"iommu": [*newest_files.CHECKS, *newest_mock.CHECKS], "noiommu": newest_noiommu.CHECKS}

if __name__ == "__main__":
    which, only = (*sys.argv[1:], "")[:2]
    vfio_lab.bind(*FUNCTIONS[which])
    vfio_lab.run(CHECKS[which], only, backends=("iommufd",))
