"""PostgreSQL as the study's and MLflow's store, S3 for artifacts, eight writers, crashes: `make stores-test`.

A sweep of tiny trials with --study-uri and --tracking-uri on them, its driver killed once, equal to the same sweep on
files. Then eight processes write metrics while MLflow's server and PostgreSQL are killed: whatever was acknowledged is
there. An artifact goes to S3 and comes back. Last, each is taken away, and a line must say so. Skips, with the reason,
where PostgreSQL or moto is not installed.
"""

import argparse
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.paths import SweepPaths
from orchestrator.plan import read_plan
from orchestrator.serve import server_command
from orchestrator.study import study_of
from tests.cluster.refusals import bucket_refuses, database_goes
from tests.cluster.services import BUCKET, S3, PostgreSQL, postgresql_programs
from tests.cluster.transcript import Transcript, write_page
from tests.faults.checker import lasting
from tests.faults.lab import ROOT, Lab
from tests.faults.servers import STARTS_S, free_port
from tests.tiny import write_data, write_encoder

WRITERS, METRICS = 8, 1000
ARTIFACT_BYTES = 20_000_000
WAIT_S = 500


class Server:
    """MLflow's server on PostgreSQL and S3, which proxies artifacts where no other command is given."""

    def __init__(self, folder, database, s3, command=lambda port: server_command(f"s3://{BUCKET}/mlflow", port)):
        """Start nothing yet."""
        self._log, self.port, self._command = folder / "mlflow.log", free_port(), command
        self.uri = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | s3.environment | {
            "MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"
        }  # fmt: skip

    def start(self):
        """Start it and wait until it answers; return the seconds that it took."""
        began = time.monotonic()
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command(self.port),
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        while time.monotonic() - began < 4 * STARTS_S:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):  # noqa: S310  (loopback)
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.3)
        raise TimeoutError(f"MLflow did not start: {self._log.read_text()[-3000:]}")

    def kill(self):
        """End it as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Stores(Transcript):
    """One run of the story."""

    def __init__(self, folder, programs, moto):
        """Start PostgreSQL, S3 and MLflow on them."""
        super().__init__()
        self.folder = folder
        self.database = PostgreSQL(folder / "postgresql", programs)
        self.database.start()
        self.database.create("study", "mlflow")
        self.s3 = S3(moto, folder / "moto.log")
        self.s3.start()
        self.server = Server(folder, self.database.uri("mlflow"), self.s3)
        self.say(f"MLflow on PostgreSQL answers after {self.server.start():.0f} s")

    def stop(self):
        """End all three."""
        self.server.kill()
        self.s3.stop()
        self.database.stop()

    def sweep(self):
        """Run a sweep on both stores, its driver killed in its midst, and the same one on files."""
        for name in ("data", "encoder"):
            (self.folder / name).mkdir()
        data, encoder = write_data(self.folder / "data"), write_encoder(self.folder / "encoder")
        twin, lab = (Lab(self.folder / name, data, encoder) for name in ("twin", "lab"))
        twin.run(timeout=WAIT_S)
        lab.more = ["--study-uri", self.database.uri("study"), "--tracking-uri", self.server.uri]
        lab.arm("sweep: planned", "kill driver")
        lab.run(expect=(-9,), timeout=WAIT_S)
        process = lab.start()
        lab.wait_for("state: saved", timeout=WAIT_S)
        process.kill()
        process.wait()
        code, _ = lab.run(timeout=WAIT_S)
        self.expect(
            f"the driver was killed beside its new plan and in mid-trial; the same command ends with {code}",
            holds=code == 0,
        )
        self.expect("leaderboard equal to that on files", holds=lasting(lab.board()) == lasting(twin.board()))
        paths = SweepPaths(lab.out, lab.name)
        study = study_of(paths, read_plan(paths.plan), None)
        self.expect(
            f"the study is in PostgreSQL: {len(study.ended())} trials, and there is no study.db",
            holds=len(study.ended()) == lab.trials and not paths.study_file.exists(),
        )

    def writers(self):
        """Let many processes write while the server, then the database is killed; count what is there."""
        client = MlflowClient(self.server.uri)
        experiment = client.create_experiment("writers")
        outputs = [self.folder / f"writer-{number}.json" for number in range(WRITERS)]
        began = time.monotonic()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.writer", self.server.uri, experiment, str(METRICS), str(output)],
                cwd=ROOT, env=os.environ | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
            )
            for output in outputs
        ]  # fmt: skip
        for share, fault in ((0.25, self._lose_server), (0.6, self._lose_database)):
            while self._acknowledged(outputs) < share * WRITERS * METRICS and time.monotonic() - began < WAIT_S:
                time.sleep(0.2)
            at = self._acknowledged(outputs)
            fault()
            self.say(f"{fault.__doc__} at {at:,} acknowledged metrics")
        codes = [process.wait(WAIT_S) for process in processes]
        seconds = time.monotonic() - began
        lost = failed = 0
        for output in outputs:
            said = json.loads(output.read_text())
            kept = {(each.step, each.value) for each in client.get_metric_history(said["run"], "m")}
            lost += sum((step, step / 7) not in kept for step in said["acknowledged"])
            failed += said["failed_calls"]
        total = self._acknowledged(outputs)
        self.expect(f"{WRITERS} writers ended in {seconds:.0f} s, {failed} calls made again", holds=not any(codes))
        self.expect(f"acknowledged metrics: {total:,}, lost {lost}", holds=total == WRITERS * METRICS and not lost)

    def artifact(self):
        """Send a file to S3 through the server, and fetch it back."""
        client = MlflowClient(self.server.uri)
        run = client.create_run(client.create_experiment("artifact")).info.run_id
        sent = self.folder / "sent.bin"
        sent.write_bytes(secrets.token_bytes(ARTIFACT_BYTES))
        began = time.monotonic()
        client.log_artifact(run, str(sent), "files")
        took = time.monotonic() - began
        (self.folder / "fetched").mkdir()
        fetched = Path(client.download_artifacts(run, "files/sent.bin", str(self.folder / "fetched")))
        sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (sent, fetched)]
        self.expect(
            f"artifact of {ARTIFACT_BYTES:,} bytes to S3 in {took:.1f} s and back: {sums[0][:16]}… {sums[1][:16]}…",
            holds=sums[0] == sums[1] and sent != fetched,
        )

    def refusals(self):
        """Take the database, the bucket and the credentials away, each for itself."""
        data, encoder = self.folder / "data", self.folder / "encoder"
        database_goes(self, data, encoder)

        def server_of(name, command):
            self.database.create(name)
            return Server(self.folder, self.database.uri(name), self.s3, command)

        bucket_refuses(self, server_of, data, encoder)

    def _lose_server(self):
        """MLflow's server killed and started again"""  # noqa: D400  (a line of the transcript)
        self.server.kill()
        self.server.start()

    def _lose_database(self):
        """PostgreSQL killed and started again"""  # noqa: D400
        self.database.crash()
        self.database.start()

    def _acknowledged(self, outputs):
        count = 0
        for output in outputs:
            try:
                count += len(json.loads(output.read_text())["acknowledged"])
            except (OSError, ValueError):  # not begun, or being written
                continue
        return count


def lacking(moto):
    """Return why this machine cannot run it, or nothing."""
    if postgresql_programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if not moto.exists():
        return f"there is no {moto}; make stores-test installs it"
    try:
        import boto3  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"{error}; make stores-test installs it"
    return ""


def main():
    """Run it; the exit code is 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moto", type=Path, required=True, help="moto_server")
    parser.add_argument("--page", type=Path, help="write the transcript here")
    arguments = parser.parse_args()
    if why := lacking(arguments.moto):
        print(f"skipped: {why}")
        return
    with tempfile.TemporaryDirectory(prefix="stores-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as another user
        stores = Stores(Path(folder), postgresql_programs(), arguments.moto.resolve())
        try:
            stores.sweep()
            stores.writers()
            stores.artifact()
            stores.refusals()
        finally:
            stores.stop()
    write_page(arguments.page, "PostgreSQL and S3 under eight writers", "make stores-test", stores.lines)
    raise SystemExit(int(bool(stores.failures)))


if __name__ == "__main__":
    main()
