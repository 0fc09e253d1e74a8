"""The doctor's page, also where nothing was found out."""

import json

import attrs

from trio_p2p._doctor.page import as_json, render
from trio_p2p._nat.findings import Survey

from ..kit.surveys import AT_HOME, BROKER, RANDOM, mapped


def test_nothing_was_found_out() -> None:
    survey = Survey(BROKER)
    assert "not known" in render(survey)
    page = json.loads(json.dumps(as_json(survey)))
    assert (page["layers"], page["mapping"], page["port_mapping"]) == (None, None, None)


def test_page_is_narrow() -> None:
    for survey in (AT_HOME, attrs.evolve(AT_HOME, nat=RANDOM, router=mapped("100.64.0.9"))):
        assert max(map(len, render(survey).splitlines())) <= 100
