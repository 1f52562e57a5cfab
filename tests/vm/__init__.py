"""The guest lab: a real Linux in QEMU, with an emulated IOMMU and the PCI topology that a test asks for."""
