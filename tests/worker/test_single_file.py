"""A worker that serves a model in one file."""

from pathlib import Path

from clients import draw, picture
from serving import WorkerProcess

from single_files import write_model
from tools.random_checkpoint.single_file import write_single_file


def test_a_file_is_served(tmp_path: Path) -> None:
    path = write_single_file(write_model("v1", tmp_path / "folder"), tmp_path / "painter.safetensors")
    drawn = []
    for flags in ([], ["--prediction-type", "v_prediction"]):
        with WorkerProcess("--model-path", path, *flags) as worker:
            worker.ready()
            assert worker.wait_for("serving painter.safetensors on")
            end = draw(worker, {"prompt": "a robot", "width": 40, "height": 32, "steps": 2, "seed": 1})[-1]
            drawn.append(picture(end.data["image"]))
    assert [made.size for made in drawn] == [(40, 32)] * 2
    assert drawn[0].tobytes() != drawn[1].tobytes()
