"""A browser, and a page with all that a page can have but few problems."""

import pytest
from support import chromium
from support.report_runs import write_large_run

from lift_harness.report import write_report


@pytest.fixture(scope="module")
def browser():
    opened = chromium.Chromium(chromium.find())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_report(write_large_run(tmp_path_factory.mktemp("small"), 60, traces=6))


@pytest.fixture
def opened_small(browser, small):
    browser.open(small)
    yield browser
    assert browser.complaints() == [] and browser.requests() == []
