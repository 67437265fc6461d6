#!/usr/bin/env bash
# mlflow_service.sh CHECKOUT USER PORT STORE FOLDER: writes to FOLDER/settings what MLflow needs as a service of this
# machine, mlflow.service and mlflow.env, and what a sweep has to know of it, sweep.env. The password is made once and
# stays. PORT is PostgreSQL's; STORE is where artifacts and backups go: s3://BUCKET, or a folder.
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
cat > "$settings/mlflow.env" <<ENV
MLFLOW_BACKEND_STORE_URI=$(database mlflow)
MLFLOW_DEFAULT_ARTIFACT_ROOT=$store/mlflow
MLFLOW_AUTH_CONFIG_PATH=$settings/users.ini
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$settings/password")
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$settings/secret_key")
ENV
cat > "$settings/sweep.env" <<ENV
export SWEEP_STUDY_URI='$(database study)'
export SWEEP_BACKUPS='$store/backups'
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
export MLFLOW_TRACKING_USERNAME=admin
export MLFLOW_TRACKING_PASSWORD=$(cat "$settings/password")
ENV
sed -e "s#@USER@#$user#; s#@CHECKOUT@#$checkout#; s#@FOLDER@#$folder#" "$checkout/cluster/mlflow.service" \
    > "$settings/mlflow.service"
chown "$user" "$settings" "$settings"/*
