"""DMA remapping, pure: registers, tables, walks and faults of each architecture over any memory image."""
