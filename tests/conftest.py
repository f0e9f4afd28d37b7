"""Property tests try the same examples every time, so that a failure is about the change at hand.

HYPOTHESIS_PROFILE=search tries new ones.
"""

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
