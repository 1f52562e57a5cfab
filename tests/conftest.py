"""What all tests share: a Hypothesis profile that knows no clock."""

import os

from hypothesis import HealthCheck, settings

# A loaded machine is no failure: neither a slow example nor slow drawing says anything about the code.
settings.register_profile(
    "vfiokit", deadline=None, suppress_health_check=(HealthCheck.too_slow,), print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "vfiokit"))
