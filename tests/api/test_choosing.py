"""Which folders of this machine no page gets whole."""

from __future__ import annotations

from pathlib import Path

from connect_helper.api.choosing import whole_folder_rule
from connect_helper.settings import Folders


def test_the_rule_of_this_machine_knows_every_folder_of_the_program(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "linked").symlink_to(real)
    folders = Folders.from_environment({"CONNECT_HELPER_HOME": str(tmp_path / "linked" / "helper")})
    rule = whole_folder_rule(folders)
    for name in ("config", "state", "run", "logs", "."):
        assert "this program" in (rule(str((real / "helper" / name).resolve())) or ""), name
    assert "this program" in (rule(str(real)) or "")
    assert rule(str(real / "helper" / "Downloads")) is None
