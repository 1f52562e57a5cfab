"""The checks behind the rows of :mod:`vfiokit.binding.safety_rows`, a module for each part of the host."""
