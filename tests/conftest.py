"""What every test shares."""

from hypothesis import settings

settings.register_profile("suite", deadline=None)  # a slow machine is no failure
settings.load_profile("suite")
