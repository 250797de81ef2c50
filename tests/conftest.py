"""What every test shares."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are there: pytest-xdist has a process a core

settings.register_profile("suite", deadline=None)  # a slow machine is no failure
settings.load_profile("suite")
