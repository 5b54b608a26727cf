"""Keys that go with a prompt are shown by nothing that is written of it."""

from __future__ import annotations

from comfyone.gateway.services.submissions import Submission
from tests.unit.gateway.engine.samples import new_job

SECRETS = {"api_key_comfy_org": "very-secret"}


def test_neither_a_submission_nor_a_new_job_shows_its_secrets() -> None:
    for holder in (Submission(workflow="owl", secrets=SECRETS), new_job(secrets=SECRETS)):
        assert holder.secrets == SECRETS
        assert "very-secret" not in repr(holder)
        assert "very-secret" not in str(holder)
