"""What the head keeps when its machine is lost: the volume, PostgreSQL on it, and the backups."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.cluster.head import ROOT, Disk, sh, tool


def sha256(disk):
    """Return the hash of all that a disk holds."""
    return hashlib.sha256(disk.file.read_bytes()).hexdigest()


# The disk.


def test_an_empty_disk_gets_a_file_system_and_keeps_what_is_written(disk):
    """What one machine wrote, the next one finds; mounting twice is mounting once."""
    disk.mount()
    disk.mount()
    (disk.mounted / "leaderboard").write_text("exp4")
    disk.unplug()
    disk.plug()
    disk.mount()

    assert (disk.mounted / "leaderboard").read_text() == "exp4"


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda disk: tool("mkfs.ext4", "-q", "-O", "journal_dev", disk.device), "jbd"),
        (lambda disk: tool("mkswap", disk.device), "swap"),
        (lambda disk: Path(disk.device).write_bytes(os.urandom(512)), "holds data"),
        (lambda disk: _write(disk, 900 << 10, b"x"), "holds data"),
    ],
    ids=["part of another file system", "swap", "unknown bytes", "a byte far in"],
)
def test_a_disk_that_holds_anything_else_is_left_alone(disk, prepare, says):
    """It is refused with one line that says what is there, and not a byte of it changes."""
    prepare(disk)
    tool("sync")
    before = sha256(disk)

    refused = disk.mount(check=False)

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith(f"error: {disk.device} holds")
    assert says in refused.stderr
    assert sha256(disk) == before


def _write(disk, offset, content):
    with Path(disk.device).open("r+b") as device:
        device.seek(offset)
        device.write(content)


def test_a_disk_that_is_missing_is_named(tmp_path):
    """A volume that does not show up is one line."""
    refused = sh("mount_volume.sh", tmp_path / "nothing", tmp_path / "folder", check=False)

    assert (refused.returncode, refused.stderr) == (1, f"error: no disk at {tmp_path / 'nothing'}\n")


# PostgreSQL.


@pytest.mark.slow
def test_a_new_machine_finds_what_the_lost_one_had_acknowledged(head):
    """Processes killed, root disk gone, the same volume on a new machine: every row is there, and the password."""
    head.sql("create table scores(trial int, score float)")
    head.sql("insert into scores select n, n / 7.0 from generate_series(1, 1000) n")
    before, password = head.sql("select md5(string_agg(score::text, ',' order by trial)) from scores"), _password(head)

    head.lose()
    head.start()

    assert head.sql("select md5(string_agg(score::text, ',' order by trial)) from scores") == before
    assert _password(head) == password


def _password(head):
    return (head.disk.mounted / "settings" / "password").read_text()


@pytest.mark.slow
def test_text_is_utf8_whatever_the_locale_of_who_set_it_up(head):
    """A shell without a locale would give databases of bytes, which MLflow cannot read."""
    assert head.sql("show server_encoding") == "UTF8"


@pytest.mark.slow
def test_databases_of_another_version_are_left_alone(head):
    """An image with another PostgreSQL is told so in one line, and starts nothing on the old data."""
    head.lose()
    head.disk.mount()
    version = head.folder / "data" / "PG_VERSION"
    mine = version.read_text()
    version.write_text("9\n")
    try:
        refused = sh("postgres.sh", head.folder, "root", "study", SWEEP_POSTGRES=head.name, check=False)
    finally:
        version.write_text(mine)
        head.start()

    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {head.folder}/data is of PostgreSQL 9, here is {mine.strip()}; install that one, or restore a backup "
        "(docs/cluster.md)\n"
    )


@pytest.mark.slow
def test_nobody_else_gets_in(head):
    """Without a password PostgreSQL serves its own user alone, by the local socket, and listens on loopback only."""
    assert head.sql("show listen_addresses", "study") == "localhost"
    refused = subprocess.run(
        [
            "runuser",
            "-u",
            "nobody",
            "--",
            "psql",
            "-h",
            "/var/run/postgresql",
            "-p",
            head.port,
            "-c",
            "select 1",
            "study",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode != 0
    assert "nobody" in refused.stderr


# The backup.


@pytest.mark.slow
def test_a_backup_brings_back_what_was_there(head):
    """Restored over what came later, the databases hold what the backup held."""
    head.sql("create table results(trial int); insert into results values (1), (2)")
    place = head.back_up()
    head.sql("delete from results; create table later(x int)")

    sh("restore.sh", place, SWEEP_SETTINGS=str(head.settings))

    assert head.sql("select count(*) from results") == "2"


@pytest.mark.slow
def test_a_driver_that_outlived_a_restored_study_is_fenced(head):
    """The backup knows an older lease than it holds, and the next driver's must be none that it may have had."""
    head.sql("create table sweep_lease(name text, token bigint); insert into sweep_lease values ('exp4', 3)")
    place = head.back_up()
    head.sql("update sweep_lease set token = 7")

    sh("restore.sh", place, SWEEP_SETTINGS=str(head.settings))

    assert int(head.sql("select token from sweep_lease")) > 1000
    head.sql("drop table sweep_lease")


@pytest.mark.slow
def test_a_damaged_backup_changes_nothing(head):
    """A flipped byte is found before the first database is touched."""
    head.sql("create table kept(trial int); insert into kept values (1)")
    place = head.back_up()
    dump = Path(place) / "study.dump"
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    head.sql("insert into kept values (2)")

    refused = sh("restore.sh", place, SWEEP_SETTINGS=str(head.settings), check=False)

    assert refused.returncode == 1
    assert "study.dump: FAILED" in refused.stdout
    assert head.sql("select count(*) from kept") == "2"


@pytest.mark.slow
def test_a_backup_without_its_sums_is_refused(head, tmp_path):
    """What a copy that was cut short left is no backup: one line says so, and nothing is touched."""
    head.sql("create table whole(trial int); insert into whole values (1)")
    place = Path(head.back_up())
    cut = tmp_path / "cut"
    shutil.copytree(place, cut)
    (cut / "sha256").unlink()
    head.sql("insert into whole values (2)")

    refused = sh("restore.sh", cut, SWEEP_SETTINGS=str(head.settings), check=False)

    assert refused.returncode == 1
    assert refused.stderr == f"error: {cut} has no sha256, which comes last: no whole backup; take another\n"
    assert head.sql("select count(*) from whole") == "2"


@pytest.mark.slow
def test_a_backup_has_its_name_once_it_is_whole(head, tmp_path):
    """In a folder where the copy ends in the middle no backup appears; one that is whole is its owner's alone."""
    full = Disk(megabytes=8)  # too small for the dumps
    try:
        full.mount()
        (full.mounted / "filler").write_bytes(bytes(shutil.disk_usage(full.mounted).free - 8192))
        cut = sh("backup.sh", SWEEP_SETTINGS=str(head.settings), SWEEP_BACKUPS=full.mounted / "backups", check=False)
        assert cut.returncode != 0
        assert list((full.mounted / "backups").glob("*")) == []
    finally:
        full.remove()
    sh("backup.sh", SWEEP_SETTINGS=str(head.settings), SWEEP_BACKUPS=str(tmp_path / "backups"))
    (whole,) = (tmp_path / "backups").iterdir()
    assert {path.stat().st_mode & 0o077 for path in [whole, *whole.iterdir()]} == {0}


@pytest.mark.slow
def test_in_a_bucket_the_sums_come_last(head, checkout):
    """`aws` is a script that writes down what it is asked: first the dumps without the sums, then the sums."""
    aws = checkout / ".venv/bin/aws"
    aws.write_text(f'#!/bin/sh\nprintf "%s " "$@" >> {checkout}/asked\necho >> {checkout}/asked\n')
    aws.chmod(0o755)
    path = f"{aws.parent}:{os.environ['PATH']}"

    sh("backup.sh", SWEEP_SETTINGS=str(head.settings), SWEEP_BACKUPS="s3://bucket/backups", PATH=path)

    dumps, sums = (checkout / "asked").read_text().splitlines()
    assert re.search(r"--recursive --exclude sha256 \S+ s3://bucket/backups/\S+ $", dumps)
    assert re.search(r"\S+/sha256 s3://bucket/backups/\S+/sha256 $", sums)


# A database elsewhere.

MANAGED = "postgresql+psycopg://sweeps@db.example:5432/{}?sslmode=require&connect_timeout=5"


@pytest.fixture
def own(head):
    """Return a function that adds to own.env and sets the head up again, as `ray up` does; undone at the end."""
    path = head.settings.with_name("own.env")
    before = path.read_text()

    def write(**values):
        path.write_text(before + "".join(f"{name}='{value}'\n" for name, value in values.items()))
        head.start()

    yield write
    path.write_text(before)


def _read(file, name):
    """Return what a shell that reads a file of settings then has under a name."""
    return tool("bash", "-c", f'set -aeu; . "$1"; printenv {name}', "-", str(file))


@pytest.mark.slow
def test_what_a_person_sets_stands_after_the_next_set_up(head, own):
    """A URI in own.env wins over what set-up writes, for sweeps and for MLflow; the file is its owner's alone."""
    own(SWEEP_STUDY_URI=MANAGED.format("study"), MLFLOW_BACKEND_STORE_URI=MANAGED.format("mlflow"), PGPASSWORD="a $b")
    path = head.settings.with_name("own.env")

    assert _read(head.settings, "SWEEP_STUDY_URI") == MANAGED.format("study")
    assert _read(head.settings, "MLFLOW_TRACKING_URI") == "http://127.0.0.1:5000"
    files = re.findall(r"^EnvironmentFile=(.*)$", head.settings.with_name("mlflow.service").read_text(), re.MULTILINE)
    assert files == [str(path.with_name("mlflow.env")), str(path)]  # systemd: the later one wins
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_database_elsewhere_is_not_said_to_be_backed_up(head, own):
    """What another server holds is named, and not dumped; what is left here is backed up, and comes back."""
    own(SWEEP_STUDY_URI=MANAGED.format("study"), MLFLOW_BACKEND_STORE_URI=MANAGED.format("mlflow"))
    head.sql("create table left_here(name text); insert into left_here values ('colleague')", "mlflow_users")

    done = sh("backup.sh", SWEEP_SETTINGS=str(head.settings), check=False)

    assert done.returncode == 0
    assert done.stderr == "no backup of study, mlflow: another server has them, with backups of its own (own.env)\n"
    place = Path(done.stdout.strip().removeprefix("backup: "))
    assert {file.name for file in place.iterdir()} == {"mlflow_users.dump", "sha256"}
    head.sql("delete from left_here", "mlflow_users")
    sh("restore.sh", place, SWEEP_SETTINGS=str(head.settings))
    assert head.sql("select name from left_here", "mlflow_users") == "colleague"


@pytest.mark.slow
def test_a_backup_is_not_restored_beside_a_database_elsewhere(head, own):
    """The head's own, empty study is not what sweeps read: one line says where that is, and nothing is touched."""
    head.sql("create table beside(trial int); insert into beside values (1)")
    place = sh("backup.sh", SWEEP_SETTINGS=str(head.settings)).removeprefix("backup: ")
    head.sql("insert into beside values (2)")
    own(SWEEP_STUDY_URI=MANAGED.format("study"))

    refused = sh("restore.sh", place, SWEEP_SETTINGS=str(head.settings), check=False)

    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {place} holds study, which another server has (own.env); restore it there, by pg_restore, or take it "
        "out of own.env\n"
    )
    assert head.sql("select count(*) from beside") == "2"


# The sweep.


@pytest.fixture
def checkout(tmp_path):
    """Return a checkout whose Python is a shell script that writes down its arguments and ends with code 3."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    python = tmp_path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\nexit 3\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_a_sweep_ends_with_a_backup_and_its_own_exit_code(head, checkout):
    """The sweep is told where study, results and MLflow are; what it ended with is what the job ends with."""
    backups = head.disk.mounted / "store" / "backups"
    before = set(backups.glob("*"))

    done = subprocess.run(
        ["bash", checkout / "cluster/sweep.sh", "search_spaces/exp4.py", "--epochs", "1"],
        env=os.environ | {"SWEEP_SETTINGS": str(head.settings)},
        capture_output=True,
        text=True,
        check=False,
    )

    asked = (checkout / "asked").read_text().split("\n")
    assert done.returncode == 3
    assert asked[:4] == ["-m", "orchestrator.sweep", "--address", "auto"]
    assert asked[asked.index("--study-uri") + 1] == (
        f"postgresql+psycopg:///study?host=/var/run/postgresql&port={head.port}"
    )
    assert asked[asked.index("--out") + 1] == "runs"
    assert asked[-4:] == ["search_spaces/exp4.py", "--epochs", "1", ""]
    (new,) = set(backups.glob("*")) - before
    assert {dump.name for dump in new.iterdir()} == {"study.dump", "mlflow.dump", "mlflow_users.dump", "sha256"}


@pytest.mark.slow
def test_a_stopped_sweep_saves_and_is_backed_up(head, checkout):
    """Ray sends its stop to the script and to the sweep: the script waits for the sweep, then makes the backup."""
    python = checkout / ".venv/bin/python"
    python.write_text(
        "#!/bin/sh\ntrap 'sleep 1; echo saved; exit 130' TERM\necho running\nwhile :; do sleep 0.1; done\n"
    )
    script = subprocess.Popen(
        ["bash", checkout / "cluster/sweep.sh", "search_spaces/exp4.py"],
        env=os.environ | {"SWEEP_SETTINGS": str(head.settings)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert script.stdout.readline() == "running\n"
    (sweep,) = psutil.Process(script.pid).children()

    for process in (script, sweep):
        process.send_signal(signal.SIGTERM)
    said, _ = script.communicate(timeout=60)

    assert script.returncode == 130
    assert re.fullmatch(r"saved\nbackup: .*\n", said)
