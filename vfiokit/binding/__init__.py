"""Moving functions between drivers: plan, check, apply as a transaction, give back, recover.

``plan`` and ``safety`` are pure; ``apply`` is the only room of the package that writes to the kernel.
"""
