"""`python mlflow_admin.py SETTINGS`: gives MLflow's administrator the password that stands in SETTINGS/password.

A backup brings the users back with their passwords, the administrator's of then among them; a new volume has a new one,
with which sweeps sign in. MLflow itself takes that only while there is no administrator. Called by restore.sh.
"""

import sys
from configparser import ConfigParser
from pathlib import Path


def main() -> None:
    """Find the users by SETTINGS/users.ini, and change the one; MLflow makes him at its start if need be."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    settings = Path(sys.argv[1])
    config = ConfigParser()
    config.read(settings / "users.ini")
    name = config["mlflow"]["admin_username"]
    store = SqlAlchemyStore()
    store.init_db(config["mlflow"]["database_uri"])
    if store.has_user(name):
        store.update_user(name, password=(settings / "password").read_text().strip())


if __name__ == "__main__":
    main()
