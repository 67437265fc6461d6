"""Part of `make stores-test`: a database that goes, a bucket that refuses, no credentials: a line each."""

from orchestrator.serve import server_command
from tests.cluster.services import BUCKET
from tests.faults.lab import Lab

NO_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}  # fmt: skip
WAIT_S = 500


def database_goes(stores, data, encoder):
    """Kill PostgreSQL under a sweep; the same command goes on when it is there again."""
    stores.database.create("going")
    lab = Lab(stores.folder / "going", data, encoder, epochs=20, more=["--study-uri", stores.database.uri("going")])
    process = lab.start()
    lab.wait_for("state: saved", timeout=WAIT_S)
    stores.database.crash()
    code = process.wait(WAIT_S)
    _expect(stores, lab, code, "PostgreSQL killed under a sweep", "the study's database ", " has gone: ")
    lab.run(expect=(4,), timeout=WAIT_S)
    _expect(stores, lab, 4, "PostgreSQL away at the start", "the study's database ", " does not answer: ")
    stores.database.start()
    code, _ = lab.run(timeout=WAIT_S)
    stores.expect(f"PostgreSQL is there again: the same command ends with {code}", holds=code == 0)


def bucket_refuses(stores, server_of, data, encoder):
    """Let artifacts go by the server, and from here; the bucket refuses, and there are no credentials."""
    direct = server_of("direct", _direct)
    direct.start()
    stores.s3.refuse()
    keys = stores.s3.environment
    rows = [
        ("server", stores.server, {}, "by the server, which the bucket refuses", "cannot keep artifacts (status 500)"),
        ("refused", direct, keys, "from here, which the bucket refuses", "(AccessDenied) when calling the PutObject"),
        ("nobody", direct, keys | NO_CREDENTIALS, "from here, without credentials", "(Unable to locate credentials)"),
    ]
    try:
        for name, server, environment, what, said in rows:
            lab = Lab(stores.folder / name, data, encoder, name=name, trials=1, environment=environment)
            lab.more = ["--tracking-uri", server.uri, "--name", name]
            lab.run(expect=(4,), timeout=WAIT_S)
            _expect(stores, lab, 4, f"artifacts {what}", f"MLflow at {server.uri}: ", said)
    finally:
        direct.kill()


def _direct(port):
    """Return MLflow's command for a server whose clients write artifacts themselves."""
    line = list(server_command(f"s3://{BUCKET}/direct", port))
    line[line.index("--artifacts-destination")] = "--default-artifact-root"
    return [*line, "--no-serve-artifacts"]


def _expect(stores, lab, code, what, start, said):
    """Hold the exit code, and that one line tells it."""
    told = [line for line in lab.output().splitlines() if not line.startswith("{")]
    last = told[-1] if told else ""
    stores.say(f"     {last}")
    stores.expect(
        f"{what}: exit code {code}, one line", holds=code == 4 and last.startswith(f"error: {start}") and said in last
    )
