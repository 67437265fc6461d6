# Every target stands on one environment, .venv, made from the lock. A second call does nothing.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
AWS := .venv-aws
STAMP := $(VENV)/.installed
export MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT = true
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO = 0

.PHONY: sweep test quick check types layering format mlflow bench bench-gpu honesty thousand scale overhead kills failpoints faults soak corruptions outages pairs simulate cluster-test bad-nodes-test autoscaling-test head-test stores-test aws-test sample lock clean help

help:  ## the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, here is %d.%d; say make PYTHON=..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing the lock into $(VENV) (2 GB, one to five minutes, once)"
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps -r requirements.lock
	@# Where the registry's torch is a CUDA build, its CUDA libraries come along now.
	@$(PY) -c 'import torch' 2>/dev/null || $(PY) -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

sweep: $(STAMP)  ## exp4 on this machine: seven head architectures, then the leaderboard and its link
	@$(PY) -m orchestrator.sweep search_spaces/exp4.py --profile laptop

test: $(STAMP)  ## all tests, with real Ray, MLflow, browser and faults (about 20 minutes on 2 cores)
	@$(PY) -m pytest -m "not faults"

quick: $(STAMP)  ## the tests without Ray, MLflow and browser (about a minute)
	@$(PY) -m pytest -m "not slow"

check: $(STAMP)  ## ruff, format, types, layering
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(PY) -m pytest tests/test_layering.py

format: $(STAMP)  ## writes the house's format
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

mlflow: $(STAMP)  ## serves the leaderboard of runs/ at http://127.0.0.1:5000
	@$(PY) -m orchestrator.serve

bench: $(STAMP)  ## what a step and a sweep cost beside what people write (half an hour on one core; DATA=DIR)
	@$(PY) -m benchmarks.sweep_cost $(if $(DATA),--data $(DATA))

honesty: $(STAMP)  ## are the verdicts on a sweep's scores true? sweeps with known truth (an hour on one core)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.honesty

thousand: $(STAMP)  ## a sweep of 1,000 trials: seconds to its leaderboard, MLflow's page in a browser (10 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.thousand_trials

scale: $(STAMP)  ## 10,000 trials on 1,000 GPUs with spot losses, simulated: what the driver pays (half an hour on one core)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.scale $(if $(TRIALS),--trials $(TRIALS))

overhead: $(STAMP)  ## what a trial costs beside its training, over bare Ray Tune (half an hour)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.overhead

bench-gpu: $(STAMP)  ## the same on a GPU, and exp4 on data of the study's sizes
	@$(PY) -m benchmarks.gpu $(if $(DATA),--data $(DATA))

kills: $(STAMP)  ## every fault test, those too that `make test` leaves out (about 15 minutes)
	@$(PY) -m pytest tests/faults

failpoints: $(STAMP)  ## kills a sweep, then confirm, at every failpoint, one at a time; writes docs/failpoints*.md (over an hour)
	@$(PY) -m tests.faults.failpoints $(if $(SEED),--seed $(SEED))
	@$(PY) -m tests.faults.confirm_failpoints $(if $(SEED),--seed $(SEED))

faults: $(STAMP)  ## a sweep under random faults, then the invariants (10 minutes; SEED=N)
	@$(PY) -m tests.faults.nemesis --seconds 420 --trials 60 $(if $(SEED),--seed $(SEED))

soak: $(STAMP)  ## 500 trials under random faults, on a cluster of three nodes that get lost too (about an hour; SEED=N)
	@$(PY) -m tests.faults.nemesis --seconds 2400 --trials 500 --epochs 4 --nodes 3 $(if $(SEED),--seed $(SEED))

corruptions: $(STAMP)  ## 10,000 changes of what is stored, none of which may be accepted
	@SWEEP_CORRUPTIONS=10000 $(PY) -m pytest -s tests/faults/test_corruption.py

outages: $(STAMP)  ## MLflow killed, paused, black-holed and wrong for a minute each (about 15 minutes)
	@SWEEP_OUTAGE_S=60 $(PY) -m pytest -s tests/faults/test_mlflow.py

pairs: $(STAMP)  ## two drivers of one sweep started together, 20 times
	@SWEEP_PAIRS=20 $(PY) -m pytest -s tests/faults/test_two_drivers.py

simulate: $(STAMP)  ## 1,000 simulated sweeps under everything at once, and 1,000 pairs of drivers (about 25 minutes)
	@SWEEP_SIMULATIONS=1000 SWEEP_PAIRS_SIMULATED=1000 $(PY) -m pytest -s tests/faults/test_simulation.py

# Of its own: moto wants a graphql-core that breaks MLflow's. No torch, so it takes a minute.
$(AWS)/.installed: requirements.lock
	@$(PYTHON) -m venv $(AWS)
	@$(AWS)/bin/pip install -qq --disable-pip-version-check "ray[default]$$(sed -n 's/^ray//p' requirements.lock)" \
	    "moto[cloudformation,ec2,iam,s3,server]==5.2.5" boto3==1.44.8 cfn-lint==1.58.0 hypothesis pytest
	@touch $@

aws-test: $(AWS)/.installed  ## ray_cluster.yaml against moto's server: account, bootstrap, machines, volume (2 minutes)
	@PYTHONPATH=. $(AWS)/bin/python -m pytest -s -rs tests/cluster/test_aws.py

cluster-test: $(STAMP)  ## a sweep on test hosts that get lost: ray up, kill, resume, ray down (as root; 15 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m tests.cluster.walk $(if $(PAGE),--page $(PAGE))

bad-nodes-test: $(STAMP)  ## a sweep on test hosts that each lack something: data, versions, disk, token (as root; 3 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m tests.cluster.bad_nodes $(if $(PAGE),--page $(PAGE))

autoscaling-test: $(STAMP)  ## a sweep on Ray's autoscaler, from no worker to three and back (as root; 5 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m tests.cluster.autoscaling $(if $(PAGE),--page $(PAGE))

STORES := .stores
$(STORES)/installed: $(STAMP)
	@$(PYTHON) -m venv $(STORES)/moto
	@$(STORES)/moto/bin/pip install -qq --disable-pip-version-check 'moto[s3,server]==5.2.5'
	@$(PY) -m pip install -qq --disable-pip-version-check --target $(STORES)/clients -c requirements.lock 'psycopg[binary]==3.3.9' boto3==1.44.8 \
		flask-wtf==1.3.0
	@touch $@

head-test: $(STORES)/installed  ## the head's machine destroyed with its disk after a sweep (as root; Debian's postgresql; 5 minutes)
	@OMP_NUM_THREADS=1 $(PY) -m tests.cluster.head_loss --moto $(STORES)/moto/bin/moto_server \
		--clients $(STORES)/clients $(if $(PAGE),--page $(PAGE))

stores-test: $(STORES)/installed  ## PostgreSQL and S3 under eight writers and crashes (Debian's postgresql; 10 minutes)
	@PYTHONPATH=$(CURDIR):$(CURDIR)/$(STORES)/clients OMP_NUM_THREADS=1 $(PY) -m tests.cluster.stores \
		--moto $(STORES)/moto/bin/moto_server $(if $(PAGE),--page $(PAGE))

sample: $(STAMP)  ## writes the bundled sample again (the same bytes)
	@$(PY) scripts/make_sample.py model/sample

lock:  ## pins anew what pyproject.toml allows
	@sh scripts/lock.sh

clean:  ## removes the environment and the caches, never runs/
	@rm -rf $(VENV) $(AWS) .mypy_cache .ruff_cache .pytest_cache
