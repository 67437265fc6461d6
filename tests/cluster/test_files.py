"""The short files of cluster/: scripts that bash and shellcheck read, manifests with fields that exist."""

import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from tests.cluster.head import ROOT, SCRIPTS

EVERY_SCRIPT = sorted(path.name for path in SCRIPTS.glob("*.sh"))
LOCK = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("script", EVERY_SCRIPT)
def test_a_script_is_one_that_bash_reads(script):
    """Bash parses it, and it ends at the first error."""
    subprocess.run(["bash", "-n", SCRIPTS / script], check=True)
    assert re.search(r"^set -(euo pipefail|u)$", (SCRIPTS / script).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck (apt-get install shellcheck)")
@pytest.mark.parametrize("script", EVERY_SCRIPT)
def test_shellcheck_finds_nothing(script):
    """No word that splits, no variable that is not set."""
    done = subprocess.run(["shellcheck", SCRIPTS / script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# The shells of `ray exec`.

CLUSTERS = [ROOT / "ray_cluster.yaml", SCRIPTS / "gcp.yaml", SCRIPTS / "local.yaml"]


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda path: path.name)
def test_a_shell_of_ray_exec_has_the_token_that_ray_starts_with(file, tmp_path):
    """Set up twice, as Ray does it, a shell as `ray exec` opens it finds token and Ray; ~/.bashrc has one line more.

    `sudo tee` is a function that keeps what would be a profile of all users, which ~/.profile reads here.
    """
    from ray.autoscaler._private.command_runner import _with_interactive

    cluster = yaml.safe_load(file.read_text(encoding="utf-8"))
    (command,) = [command for command in cluster["setup_commands"] if "RAY_AUTH_MODE" in command]
    before = "case $- in\n    *i*) ;;\n    *) return;;\nesac\nMINE=yes"  # as Debian's, without a newline at the end
    (tmp_path / ".bashrc").write_text(before)
    (tmp_path / ".profile").write_text("[ ! -e ~/all-users ] || . ~/all-users\nsudo() { cat > ~/all-users; }\n")
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def opened(line):
        words = shlex.split(" ".join(_with_interactive(line)))
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout

    opened(command)
    opened(command)
    mine, mode, token, path = opened('echo "$MINE"; printenv RAY_AUTH_MODE RAY_AUTH_TOKEN_PATH PATH').splitlines()

    assert (mine, mode) == ("yes", "token")
    assert path.split(":")[0] == f"{tmp_path}/multitask-sweeps/.venv/bin"
    for start in ("head_start_ray_commands", "worker_start_ray_commands"):
        (ray,) = [line for line in cluster[start] if "ray start" in line]
        given = re.search(r"RAY_AUTH_TOKEN_PATH=~(\S+?);?\s", ray)[1]
        assert token == f"{tmp_path}{given}"
    assert (tmp_path / ".bashrc").read_text().count("multitask-sweeps") <= 1


# Slurm.


@pytest.fixture
def slurm(tmp_path):
    """Return a function that runs the script as Slurm does, with `ray` a script that writes down what it sees."""
    commands = {
        "scontrol": "echo node1; echo node2",
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "hostname": "echo 10.1.2.3 172.17.0.1",
        "ray": f'printf "%s\\n" "$@" > {tmp_path}/asked; stat -c %a "$RAY_AUTH_TOKEN_PATH" > {tmp_path}/mode\n'
        f'cat "$RAY_AUTH_TOKEN_PATH" > {tmp_path}/token; echo "$RAY_AUTH_MODE" > {tmp_path}/auth; exit "${{ENDS:-0}}"',
    }  # fmt: skip
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name, script in commands.items():
        (binaries / name).write_text(f"#!/bin/bash\n{script}\n")
        (binaries / name).chmod(0o755)

    def run(*arguments, ends=0):
        environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "ENDS": str(ends),
        }  # fmt: skip
        return subprocess.run(["bash", SCRIPTS / "slurm.sh", *arguments], env=environment, check=False).returncode

    return run


def test_on_slurm_one_ray_a_node_is_started_and_the_sweep_on_the_first(slurm, tmp_path):
    """Address and number of nodes are the job's, and the sweep's arguments are those that were given."""
    assert slurm("search_spaces/exp4.py", "--name", "with space") == 0

    assert (tmp_path / "asked").read_text().splitlines() == [
        "symmetric-run", "--address", "10.1.2.3:23456", "--min-nodes", "2", "--disable-usage-stats", "--",
        "python", "-m", "orchestrator.sweep", "--address", "auto", "search_spaces/exp4.py", "--name", "with space",
    ]  # fmt: skip


def test_on_slurm_the_token_is_the_jobs_own(slurm, tmp_path):
    """Ray starts with a token that its owner alone reads, another each time, and it is gone afterwards."""
    slurm("search_spaces/exp4.py")
    first = (tmp_path / "token").read_text()
    slurm("search_spaces/exp4.py")

    assert (tmp_path / "auth").read_text() == "token\n"
    assert (tmp_path / "mode").read_text() == "600\n"
    assert len(first.strip()) == 64
    assert (tmp_path / "token").read_text() != first
    assert list((tmp_path / "runs").iterdir()) == []


def test_on_slurm_the_jobs_exit_code_is_the_sweeps(slurm):
    """What the sweep ended with is what Slurm sees."""
    assert slurm("search_spaces/exp4.py", ends=3) == 3


def test_on_slurm_a_checkout_without_its_environment_is_one_line(slurm, tmp_path, capfd):
    """Before any node is asked for anything: what to call, and where."""
    (tmp_path / ".venv/bin/ray").unlink()

    assert slurm("search_spaces/exp4.py") == 2
    line = f"error: no .venv/bin/ray in {tmp_path}; make .venv/.installed there, then again\n"
    assert capfd.readouterr().err == line


def test_ray_has_the_command_that_the_script_calls():
    """`ray symmetric-run` stands in the Ray of the lock, with the options that are given to it."""
    from ray.scripts.symmetric_run import symmetric_run

    assert {"address", "min_nodes"} <= {parameter.name for parameter in symmetric_run.params}


# Kubernetes.

FIELDS = {
    "RayJobSpec": "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector "
    "submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
    "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend",
    "RayClusterSpec": "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling "
    "gcsFaultToleranceOptions headGroupSpec rayVersion workerGroupSpecs authOptions",
    "HeadGroupSpec": "template headService enableIngress rayStartParams serviceType",
    "WorkerGroupSpec": "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams template "
    "scaleStrategy numOfHosts",
    "AutoscalerOptions": "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env "
    "envFrom volumeMounts",
    "AuthOptions": "mode secretName enableK8sTokenAuth",
    "PodSpec": "serviceAccountName automountServiceAccountToken securityContext containers volumes tolerations "
    "nodeSelector",
    "Container": "name image env envFrom resources securityContext volumeMounts",
}
"""Of KubeRay's API reference (its docs/reference/api.md, and Ray's page of KubeRay 1.6.2); of pods, what is used."""


def test_the_manifest_has_fields_that_exist():
    """RayJob, cluster, groups, pods and containers say nothing that KubeRay and Kubernetes do not know."""
    job = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    looked_at = [
        ("RayJobSpec", job["spec"]), ("RayClusterSpec", cluster), ("HeadGroupSpec", groups[0]),
        *(("WorkerGroupSpec", group) for group in groups[1:]), ("AutoscalerOptions", cluster["autoscalerOptions"]),
        ("AuthOptions", cluster["authOptions"]), *(("PodSpec", pod) for pod in pods),
        *(("Container", container) for pod in pods for container in pod["containers"]),
    ]  # fmt: skip
    for kind, given in looked_at:
        assert set(given) <= set(FIELDS[kind].split()), kind
    for pod in pods:
        mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_the_manifest_asks_for_a_token_and_for_gpus_from_none():
    """Token authentication, no trial on the head, one GPU a worker, none when there is no work, the lock's Ray."""
    cluster = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text(encoding="utf-8"))["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]

    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == LOCK["ray"]
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    assert (workers["replicas"], workers["minReplicas"]) == (0, 0)
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def _pods():
    job = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text(encoding="utf-8"))
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    return cluster["headGroupSpec"]["template"]["spec"], workers["template"]["spec"]


def test_a_workers_pod_holds_nothing_that_opens_another_door():
    """Trials' code gets neither Kubernetes' token nor the passwords of MLflow and the study, which the head has."""
    head, worker = _pods()

    assert worker["automountServiceAccountToken"] is False
    assert worker["serviceAccountName"] != head["serviceAccountName"]
    assert head["containers"][0]["envFrom"] == [{"secretRef": {"name": "sweeps"}}]
    assert not worker["containers"][0].get("envFrom")
    assert {one["name"] for one in worker["containers"][0]["env"]} == {"SWEEP_CACHE"}


def test_pods_may_write_what_they_mount():
    """The volumes belong to the group of the image's user, who is no root."""
    (user,) = re.findall(r"^USER (\d+)$", (SCRIPTS / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for pod in _pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert pod["securityContext"]["fsGroup"] == int(user)


def test_the_manifest_starts_a_sweep_on_gpus():
    """The command is one that the sweep takes, and asks for a GPU a trial where no node has come yet."""
    import typer

    from orchestrator.sweep import app

    job = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text(encoding="utf-8"))
    shell, option, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, option) == ("sh", "-c")
    python, *words = shlex.split(script.replace("$SWEEP_STUDY_URI", "postgresql://db/study"))
    assert (python, words[:2]) == ("python", ["-m", "orchestrator.sweep"])
    given = typer.main.get_command(app).make_context("sweep", words[2:]).params

    assert (given["profile"].value, given["gpus_per_trial"], given["concurrent"]) == ("study", 1, 8)


def test_the_manifest_names_every_key_of_its_secret():
    """A PostgreSQL with a password gets it by PGPASSWORD, since no URI may hold one."""
    text = (SCRIPTS / "kuberay.yaml").read_text(encoding="utf-8")
    head = text[: text.index("apiVersion")].replace("\n# ", " ")
    for name in ("SWEEP_STUDY_URI", "PGPASSWORD", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"):
        assert name in head


# Docker.


def test_the_image_is_built_for_cpu_or_cuda_and_nothing_else(tmp_path):
    """DEVICE chooses torch's index; another word ends the build with what was expected."""
    text = (SCRIPTS / "Dockerfile").read_text(encoding="utf-8")
    choice = re.search(r"RUN (case .*?esac)", text, re.DOTALL)[1].replace("\\\n", "\n")

    def chosen(device):
        command = f"DEVICE={device}; {choice}; echo $index"
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert chosen("cpu").stdout == "https://download.pytorch.org/whl/cpu\n"
    assert chosen("cuda").stdout == "https://pypi.org/simple\n"
    wrong = chosen("tpu")
    assert (wrong.returncode, wrong.stderr) == (2, "DEVICE is 'tpu', expected cpu or cuda\n")


def test_the_image_runs_as_nobody_special_and_takes_no_secret_along():
    """A user without rights; what is not to be sent to nodes is not sent to the builder."""
    text = (SCRIPTS / "Dockerfile").read_text(encoding="utf-8")
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["1000"]
    assert {".git", ".venv", "runs", ".env*", "*.pem"} <= set(left_out)
