"""What every test shares: how hard Hypothesis tries (HYPOTHESIS_PROFILE picks a profile)."""

import os

from hypothesis import HealthCheck, settings

# No deadline and no complaint about slow generation: a busy machine is not a failure.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("ci"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
