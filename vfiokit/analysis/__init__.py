"""From a host to what it means: pure functions over the model."""
