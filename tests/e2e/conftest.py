"""Whole installations for whole stories."""

from tests.cli.test_up import installation

__all__ = ["installation"]
