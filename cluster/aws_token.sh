#!/usr/bin/env bash
# Fetches Ray's token from Secrets Manager to ~/.ray/auth_token; fails, and leaves the old one, where it cannot.
# The file is ours, 0600, because Ray 2.60.0 writes it readable for all.
set -euo pipefail
secret=${1:-multitask-sweeps/ray-token}
metadata=http://169.254.169.254/latest
session=$(curl -sf -X PUT "$metadata/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
region=$(curl -sf "$metadata/meta-data/placement/region" -H "X-aws-ec2-metadata-token: $session")
install -D -m 600 /dev/null ~/.ray/auth_token.new
aws secretsmanager get-secret-value --region "$region" --secret-id "$secret" --query SecretString --output text \
    > ~/.ray/auth_token.new
mv ~/.ray/auth_token.new ~/.ray/auth_token
