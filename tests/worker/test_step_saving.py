"""Options that compute less, in a worker's flags and in its requests."""

from pathlib import Path

import pytest
from clients import draw, picture
from serving import serving, shared

from sd_rbee import Pipeline
from sd_rbee.engine.draw import amount_of_work
from sd_rbee.spec import GenerationSpec
from tools.random_checkpoint import TinyVaeConfig, write_vae

SMALL = {"prompt": "a robot", "steps": 3, "width": 24, "height": 16, "seed": 7}


def test_previews_and_pictures_by_other_autoencoders(tmp_path: Path) -> None:
    channels = (8, 8, 8, 8)
    config = TinyVaeConfig(latent_channels=8, encoder_block_out_channels=channels, decoder_block_out_channels=channels)
    folders = [write_vae(config, tmp_path / name, seed=seed) for seed, name in enumerate(("vae", "preview"))]
    body = {**SMALL, "preview_every": 1}
    drawn = {}
    for flags in ((), ("--vae", folders[0]), ("--vae", folders[0], "--preview-vae", folders[1])):
        with serving(*flags) as worker:
            events = draw(worker, body)
            assert events[-1].name == "complete"
            previews = [picture(event.data["image"]).convert("RGB") for event in events if event.name == "preview"]
            final = picture(events[-1].data["image"]).convert("RGB")
            drawn[len(flags)] = final.tobytes()
            expected = (24, 16) if "--preview-vae" in flags else (3, 2)
            assert previews
            assert {preview.size for preview in previews} == {expected}
            assert final.size == (24, 16)
    assert drawn[0] != drawn[2]
    assert drawn[2] == drawn[4], "the picture is not the preview's"


def test_requests_compute_less() -> None:
    off = {"guidance_start": 0.0, "guidance_end": 1.0, "deepcache_interval": 1, "deepcache_branch": 0}
    less = ({"guidance_end": 0.5}, {"deepcache_interval": 3}, {"deepcache_interval": 3, "deepcache_branch": 2})
    ends = [draw(shared(), {**SMALL, **change})[-1] for change in ({}, off, *less)]
    drawn = [picture(end.data["image"]).tobytes() for end in ends]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 4


def test_estimates_count_the_calls_of_the_network() -> None:
    pipeline = Pipeline.load()

    def work(scheduler: str = "ddim", start: float = 0.0, end: float = 1.0, guidance: float = 3.5) -> float:
        spec = GenerationSpec("", scheduler=scheduler, guidance_scale=guidance, guidance_start=start, guidance_end=end)
        return amount_of_work(spec, pipeline)

    assert work(guidance=1.0) == work() / 2 == work(guidance=1.0, end=0.5)
    assert work(start=0.25, end=0.75) == pytest.approx(work() * 0.75)
    assert work("heun", end=0.5) == pytest.approx(2 * work(end=0.5))
