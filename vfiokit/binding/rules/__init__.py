"""The checks behind the rows of :mod:`vfiokit.binding.safety`, a module for each part of the host."""
