"""Where an export may go, asked before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel.errors import InvalidInput
from sealedlog.export_file import ExportWriter


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("name", [".", "..", "/", ""])
def test_a_folder_is_no_place_for_an_export(name: str, replace: bool) -> None:
    with pytest.raises(InvalidInput, match="is a folder: name a file in it"):
        ExportWriter(Path(name), replace=replace)
