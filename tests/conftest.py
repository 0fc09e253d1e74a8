"""Fixtures and rules for every test."""

pytest_plugins = ["pytester", "tests.no_skips", "tests.lab.fixtures"]
