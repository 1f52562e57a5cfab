"""Firmware tables that say which IOMMU stands in front of which PCI function: DMAR (Intel), IVRS (AMD).

Pure: bytes in, frozen values out. On a live host the bytes are ``/sys/firmware/acpi/tables/DMAR`` and
``IVRS``, which root alone may read.
"""
