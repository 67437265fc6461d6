"""A sweep on a cluster that grows from no worker to three and back: `make autoscaling-test`.

Ray's own autoscaler and its fake node provider, which starts a raylet for a machine, in network and PID namespaces of
their own. The sweep sees the head's file, asks for three GPUs at once before any is up, and the nodes leave once it is
done. Prints how many workers were up at each change. Needs root and Linux.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml

from tests.cluster.boards import differences
from tests.cluster.launcher import RAY
from tests.cluster.transcript import write_page
from tests.faults.lab import Lab
from tests.tiny import write_data, write_encoder

INSIDE = "SWEEP_AUTOSCALING_INSIDE"
MOST, IDLE_MINUTES = 3, 0.25
TRIALS, EPOCHS = 12, 6
BACK_S = 240
OBJECTS = 80_000_000
NO_COMMANDS = [f"{part}_commands" for part in ("initialization", "setup", "head_setup", "worker_setup")]
NO_COMMANDS += ["head_start_ray_commands", "worker_start_ray_commands"]
CLUSTER = {
    "cluster_name": "fake",
    "max_workers": MOST,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": IDLE_MINUTES,
    "provider": {
        "type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "auth": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu_spot": {
            "resources": {"CPU": 1, "GPU": 1, "object_store_memory": OBJECTS}, "node_config": {}, "min_workers": 0,
            "max_workers": MOST,
        },
    },
    **{name: [] for name in NO_COMMANDS},
}  # fmt: skip
"""As ray.cluster_utils.AutoscalingCluster has it, whose own file Ray's wheel lacks."""


class Counted:
    """How many workers are up, each time that it changes."""

    def __init__(self, began):
        """Watch from now on, in a thread, until stopped."""
        self.changes, self._began, self._over = [], began, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self):
        """Watch no more."""
        self._over.set()
        self._thread.join()

    @property
    def now(self):
        """Return how many are up."""
        return self.changes[-1][1] if self.changes else 0

    def _watch(self):
        import ray

        while not self._over.wait(0.5):
            up = sum(node["Alive"] and "GPU" in node["Resources"] for node in ray.nodes())
            if not self.changes or up != self.changes[-1][1]:
                self.changes.append((time.monotonic() - self._began, up))
                print(f"{self.changes[-1][0]:6.1f} s  {up} workers up", flush=True)


def scale(folder):
    """Run the sweep on such a cluster; return the lines and whether all holds."""
    import ray

    for name in ("data", "encoder"):
        (folder / name).mkdir()
    data, encoder = write_data(folder / "data"), write_encoder(folder / "encoder")
    twin = Lab(folder / "twin", data, encoder, trials=TRIALS, epochs=EPOCHS)
    twin.run(timeout=900)
    lab = Lab(folder / "lab", data, encoder, trials=TRIALS, epochs=EPOCHS, more=["--gpus-per-trial", "1"])
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(CLUSTER, sort_keys=False), encoding="utf-8")
    line = [*RAY, "start", "--head", "--num-cpus=0", "--include-dashboard=false", f"--object-store-memory={OBJECTS}"]
    environment = os.environ | {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    subprocess.run([*line, f"--autoscaling-config={file}"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        ray.init("auto", log_to_driver=False)
        address, began = ray.get_runtime_context().gcs_address, time.monotonic()
        counted = Counted(began)
        time.sleep(3)
        process = lab.start("--address", address, "--profile", "laptop")
        code = process.wait(900)
        ended = time.monotonic() - began
        print(f"{ended:6.1f} s  the sweep ends with exit code {code}", flush=True)
        end = time.monotonic() + BACK_S
        while counted.now and time.monotonic() < end:
            time.sleep(0.5)
        counted.stop()
        ray.shutdown()
    finally:
        subprocess.run([*RAY, "stop", "--force"], check=False, stdout=subprocess.DEVNULL)
    counts = [count for _, count in counted.changes]
    said = next((line for line in lab.output().splitlines() if "may come" in line), "")
    other = differences(twin.board(), lab.board())
    checks = {
        f"exit code {code}": code == 0,
        f"from 0 to {max(counts)} workers to {counts[-1]}": (counts[0], max(counts), counts[-1]) == (0, MOST, 0),
        f"leaderboard equal to that of one machine {other[:5] or ''}": not other,
        f"{len(lab.board()['rows'])} trials on the leaderboard": len(lab.board()["rows"]) == TRIALS,
    }
    moments = [*((at, f"{up} workers up") for at, up in counted.changes), (ended, "the sweep ends")]
    lines = [*(f"{at:6.1f} s  {what}" for at, what in sorted(moments)), said.strip()]
    lines += [f"{'ok  ' if holds else 'FAIL'} {what}" for what, holds in checks.items()]
    return lines, all(checks.values())


def main():
    """Run it in namespaces of its own; the exit code is 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the counts here")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        if os.getuid() or platform.system() != "Linux":
            print("skipped: namespaces need root and Linux")
            return
        line = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc"]
        raise SystemExit(
            subprocess.run(
                [*line, sys.executable, "-m", "tests.cluster.autoscaling", *sys.argv[1:]],
                env=os.environ | {INSIDE: "1", "RAY_AUTH_MODE": "disabled", "SWEEP_DECLARED_GPUS": "1"},
                check=False,
            ).returncode
        )
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="scale-", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        lines, holds = scale(Path(folder))
    lines = [line.replace(folder, "FOLDER") for line in lines]
    print("\n".join(lines[-4:]))
    write_page(arguments.page, "From no worker to three and back", "make autoscaling-test", lines)
    raise SystemExit(int(not holds))


if __name__ == "__main__":
    main()
