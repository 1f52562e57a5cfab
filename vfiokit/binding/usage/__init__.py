"""Reading what the host does with its functions, through the same source as a scan."""
