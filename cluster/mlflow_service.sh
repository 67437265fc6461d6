#!/usr/bin/env bash
# mlflow_service.sh CHECKOUT USER PORT STORE FOLDER: writes to FOLDER/settings what MLflow needs as a service of this
# machine, mlflow.service and mlflow.env, and what a sweep has to know of it, sweep.env. The password is made once and
# stays, and so does own.env, whose lines win. PORT is PostgreSQL's; STORE is where artifacts and backups go: s3://BUCKET,
# or a folder.
set -euo pipefail
checkout=$1 user=$2 port=$3 store=$4 folder=$5
settings=$folder/settings
database() { echo "postgresql+psycopg:///$1?host=/var/run/postgresql&port=$port"; }
umask 077
mkdir -p "$settings"
if [ ! -s "$settings/password" ]; then
    openssl rand -hex 24 > "$settings/password.new"
    openssl rand -hex 32 > "$settings/secret_key"
    mv "$settings/password.new" "$settings/password"
fi
cat > "$settings/users.ini" <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = $(database mlflow_users | sed 's/%/%%/g')
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
if [ ! -e "$settings/own.env" ]; then
    cat > "$settings/own.env" <<'ENV'
# Yours: set-up writes this file once. What stands here wins over sweep.env and mlflow.env, which set-up writes anew.
# One NAME='value' a line, since both systemd and a shell read it. Afterwards: sudo systemctl restart mlflow
#
# A managed PostgreSQL, with databases study and mlflow that you made there (docs/cluster.md). No password in a URI.
# SWEEP_STUDY_URI='postgresql+psycopg://USER@HOST/study?sslmode=require'
# MLFLOW_BACKEND_STORE_URI='postgresql+psycopg://USER@HOST/mlflow?sslmode=require'
# PGPASSWORD='...'
ENV
fi
cat > "$settings/mlflow.env" <<ENV
MLFLOW_BACKEND_STORE_URI=$(database mlflow)
MLFLOW_DEFAULT_ARTIFACT_ROOT=$store/mlflow
MLFLOW_AUTH_CONFIG_PATH=$settings/users.ini
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$settings/password")
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$settings/secret_key")
ENV
cat > "$settings/sweep.env" <<ENV
export SWEEP_POSTGRES_PORT=$port
export SWEEP_STUDY_URI='$(database study)'
export SWEEP_BACKUPS='$store/backups'
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
export MLFLOW_TRACKING_USERNAME=admin
export MLFLOW_TRACKING_PASSWORD=$(cat "$settings/password")
set -a
. '$settings/own.env'
set +a
ENV
sed -e "s#@USER@#$user#; s#@CHECKOUT@#$checkout#; s#@FOLDER@#$folder#" "$checkout/cluster/mlflow.service" \
    > "$settings/mlflow.service"
chown "$user" "$settings" "$settings"/*
