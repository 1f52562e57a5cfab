"""PCI and PCI Express configuration space: pure functions over bytes."""
