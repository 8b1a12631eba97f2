"""The cluster of the end-to-end tests, for faults in redrives."""

from tests.e2e.conftest import folder, landscape

__all__ = ["folder", "landscape"]
