"""What a worker sends of a checkpoint: all of it, or it says that it cannot. On a cluster: make head-test."""

import pytest

from model.files import DamagedFileError
from orchestrator.uploads import WorkerUploads, _send


@pytest.fixture
def checkpoint(sweep, paths):
    """Return the folder of a whole checkpoint."""
    _, trials = sweep([0.5])
    return paths.trial(0).root / trials[0].best["checkpoint"]


def test_a_worker_sends_every_file(checkpoint, tmp_path):
    """As MLflow lays them down for the driver too."""
    _send((tmp_path / "store").as_uri(), str(checkpoint))

    sent = {path.name: path.read_bytes() for path in (tmp_path / "store").iterdir()}
    assert sent == {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert len(sent) > 1


@pytest.mark.parametrize("lacks", ["all", "a file"])
def test_a_worker_that_does_not_see_the_whole_checkpoint_sends_nothing(checkpoint, tmp_path, lacks):
    """MLflow would send what is there, and an empty folder without a word: a model without its weights."""
    if lacks == "a file":
        next(path for path in sorted(checkpoint.iterdir()) if path.suffix == ".parquet").unlink()
    seen = checkpoint if lacks == "a file" else tmp_path / "not here"

    with pytest.raises(DamagedFileError):
        _send((tmp_path / "store").as_uri(), str(seen))

    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/models/m-1", "/runs/mlartifacts/1", "file:///runs/mlartifacts/1"])
def test_what_goes_through_the_server_or_to_a_folder_is_the_drivers_to_send(checkpoint, uri):
    """Workers need not reach MLflow's server; Ray is not asked."""
    assert WorkerUploads()(uri, checkpoint) is False


def test_once_ray_is_left_no_worker_is_asked(checkpoint):
    """The driver sends what is left."""
    uploads = WorkerUploads()
    uploads.close()
    assert uploads("s3://bucket/1", checkpoint) is False
