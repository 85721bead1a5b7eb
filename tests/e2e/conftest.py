"""Whole installations for whole stories, and a browser before them."""

from tests.cli.test_up import installation
from tests.e2e.browser import chromium, site

__all__ = ["chromium", "installation", "site"]
