"""Nodes that cannot do a sweep's work, and what may come to a cluster."""

import socket

import pytest
import yaml

from orchestrator.failures import Failure
from orchestrator.node_types import Growth, NodeType, read_growth
from orchestrator.nodes import ID_LABEL, Avoided, full_disk, of_this_node, others_may_do, unfit, versions
from orchestrator.resources import Node

GPU = Node(4.0, 1.0)


def test_a_node_as_the_driver_is_fit(tmp_path):
    """Folder seen, versions equal: nothing is said."""
    assert unfit(tmp_path, versions(), versions()) is None


def test_a_node_without_the_shared_folder_says_which(tmp_path):
    """The line names the folder, and how it has to be."""
    said = unfit(tmp_path / "away", versions(), versions())
    assert (
        said
        == f"does not see {tmp_path / 'away'}: --out must be a folder that all nodes share, mounted at the same place"
    )


@pytest.mark.parametrize(
    ("package", "here", "there"),
    [("torch", "2.12.0", "2.13.0"), ("Python", "3.12.1", "3.11.7"), ("numpy", "none", "2.4.0")],
)
def test_another_version_is_named_on_both_sides(tmp_path, package, here, there):
    """Results follow from it: both versions stand in the line, and no other package."""
    own, drivers = versions() | {package: here}, versions() | {package: there}
    assert unfit(tmp_path, drivers, own) == (
        f"has {package} {here}, the driver {package} {there}: install requirements.lock on both"
    )


def test_pythons_last_number_may_differ(tmp_path):
    """3.11.7 beside 3.11.9 is what Ray takes too."""
    assert unfit(tmp_path, versions() | {"Python": "3.11.7"}, versions() | {"Python": "3.11.9"}) is None


@pytest.mark.parametrize("failure", Failure)
def test_only_ends_that_are_a_nodes_doing_make_it_avoided(failure):
    """No GPU, no data: the node. A trial's own error, a kill, a full disk: not."""
    avoided = Avoided()
    assert avoided.learn("ab12", failure, "why") == (failure in ("infrastructure", "input changed"))
    assert avoided.selector() == ({ID_LABEL: "!in(ab12)"} if avoided.nodes else {})


def test_a_node_is_avoided_once():
    """What still came to it meanwhile is no news."""
    avoided = Avoided()
    assert avoided.learn("b", "infrastructure", "why")
    assert not avoided.learn("b", "infrastructure", "why")
    avoided.learn("a", "input changed", "why")
    assert avoided.selector() == {ID_LABEL: "!in(a,b)"}


@pytest.mark.parametrize(
    ("avoided", "nodes", "trained", "goes_on"),
    [(1, 50, False, True), (2, 50, False, True), (3, 50, False, False), (3, 50, True, True), (1, 1, False, False)],
)
def test_new_nodes_are_not_rented_for_ever_where_the_first_ones_could_not_do_it(avoided, nodes, trained, goes_on):
    """Three alike and none that can: so would the next be. Where one has trained, others may."""
    assert others_may_do(avoided, nodes, trained=trained) == goes_on


def test_what_a_node_lacks_is_told_with_its_name_and_what_to_do():
    """Data that are gone there name the node and the remedy; what is the trial's own says nothing of a node."""
    gone = {"number": 0, "failure": "input changed", "error": "a.csv: no such file"}
    assert of_this_node(gone, "ab12") == gone | {
        "node": "ab12",
        "error": f"node {socket.gethostname()}: a.csv: no such file; every node needs the driver's data and encoder at "
        "the same place: mount or copy them there",
    }
    own = {"number": 0, "failure": "code", "error": "shape"}
    assert of_this_node(own, "ab12") == own


def test_a_note_of_a_node_is_told_once_a_node():
    """Two nodes whose disks are full are two notes."""
    said = of_this_node({"number": 0, "about": "token cache", "note": "full"}, "ab12")
    name = f"node {socket.gethostname()}"
    assert (said["about"], said["note"]) == (f"token cache of {name}", f"{name}: full")


ACCOUNT = """Failure # 1 (occurred at 2026-11-27_07-16-47)
Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
[Node 10.0.0.7] Traceback (most recent call last):
  File "/usr/lib/python3.11/logging/__init__.py", line 1094, in flush
    self.stream.flush()
OSError: [Errno 28] No space left on device
"""
"""What Ray 2.60 wrote of a node whose /tmp was full, shortened."""


def test_a_node_where_ray_finds_no_room_is_known_by_its_address():
    """The line says which disk; another reason, or another's account, is none of it."""
    address, said = full_disk(ACCOUNT)
    assert address == "10.0.0.7"
    assert said == (
        "node 10.0.0.7: Ray can start nothing there (No space left on device): make room on the disk of its own folder "
        "(/tmp/ray, or --temp-dir of its ray start)"
    )
    assert full_disk(ACCOUNT.replace("No space left on device", "broken")) is None
    assert full_disk("ray::SweepTrial.train() (ip=10.0.0.7)\nOSError: [Errno 28] No space left on device") is None


def written(folder, **changes):
    """Write a cluster file of a head and two types; return its path."""
    cluster = {
        "max_workers": 8,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 0, "GPU": 0}},
            "spot": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 6},
            "on_demand": {"resources": {"CPU": 4, "GPU": 1}},
        },
    }
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(cluster | changes, sort_keys=False), encoding="utf-8")
    return path


def test_what_may_come_is_read_from_the_heads_file(tmp_path):
    """Each type but the head's, and so many of it; the cluster's most holds for all of them together."""
    growth = read_growth(written(tmp_path))
    assert growth == Growth((NodeType("spot", GPU, 6), NodeType("on_demand", GPU, 8)), 8)
    assert growth.to_come(0) == [GPU] * 8
    assert growth.to_come(7) == [GPU]
    assert growth.to_come(9) == []


@pytest.mark.parametrize("text", ["", "[1]", "max_workers: 2", "a: [", "available_node_types: 3\nhead_node_type: x"])
def test_a_file_that_says_nothing_tells_of_nothing(tmp_path, text):
    """The nodes that are up count then."""
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_growth(path) == Growth() == read_growth(tmp_path / "none")


def test_machines_whose_resources_are_not_said_count_once_they_join(tmp_path):
    """As with `provider: local`."""
    types = {"head": {}, "worker": {"resources": {}}}
    assert read_growth(written(tmp_path, available_node_types=types)).types == ()
