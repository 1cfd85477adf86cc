"""What `scripts/destroy` refuses before anything happens."""

import pytest

from scripts.deployment import destroy


def test_a_protected_environment(capsys: pytest.CaptureFixture[str]) -> None:
    """Terraform would refuse as well, when half of a stack is gone."""
    assert destroy.main(["prod"]) == 1
    assert "prod is protected: set deletion_protection = false in its file" in capsys.readouterr().err


def test_force_is_for_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert destroy.main(["dev", "--force"]) == 1
    assert "--force is for the platform on this machine" in capsys.readouterr().err
