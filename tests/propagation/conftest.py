"""Fixtures of the propagation tests."""

from __future__ import annotations

import pytest

from tests.propagation.agreement import METHODS, runs_here


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each fast implementation that runs on this machine's CPU."""
    if not runs_here(request.param):
        pytest.skip(f"propagation method {request.param!r} does not run on this machine")
    return request.param
