"""For all tests."""

from hypothesis import settings

# No test fails for being slow: on a busy machine anything can be.
settings.register_profile("m3fm", deadline=None)
settings.load_profile("m3fm")
