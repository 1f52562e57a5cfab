"""What a host is: frozen values that any source can produce and any analysis can read."""
