"""To be imported before anything that imports torch: skips the module where that cannot be done."""

import pytest

for _package in ("torch", "diffusers", "transformers"):
    pytest.importorskip(_package, reason=f'{_package} is not installed: pip install "sd-rbee[parity]"')
