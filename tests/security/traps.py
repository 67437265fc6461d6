"""Pickles that would leave a mark if anything loaded them, in every form in which files carry pickles."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch


@dataclass
class Traps:
    """Payloads under names; each would create a file of its name in the folder."""

    folder: Path

    def sprung(self):
        """Return the names of those that were loaded."""
        return sorted(path.name for path in self.folder.iterdir())

    def command(self, name):
        """Return what a payload runs."""
        return f"touch {self.folder / name}"

    def pickled(self, name):
        """Return a bare pickle, of protocol 0: it is text, so that no reader stumbles over bytes before it runs."""
        return f"cos\nsystem\n(S'{self.command(name)}'\ntR.".encode()

    def of_torch(self, path, name):
        """Write what torch.save writes: a zip archive with a pickle in it."""
        torch.save({"weight": _Payload(self.command(name))}, path)

    def of_numpy(self, path, name):
        """Write an array of objects, which are pickled."""
        np.save(path, np.array([_Payload(self.command(name))], dtype=object), allow_pickle=True)

    def of_arrow(self, table, name):
        """Return a table whose columns say that they are of types which unpickle their own description."""
        kinds = ("arrow.py_extension_type", "ray.data.arrow_pickled_object")
        fields = [
            field.with_metadata({"ARROW:extension:name": kind, "ARROW:extension:metadata": self.pickled(name)})
            for field, kind in zip(table.schema, kinds * table.num_columns, strict=False)
        ]
        return pa.table(table.columns, schema=pa.schema(fields, metadata={"pandas": self.pickled(name)}))

    def mlflow_model(self, folder, name):
        """Add to a folder what makes MLflow load it as a model: a module of its own to be imported, and pickles."""
        (folder / "code").mkdir()
        (folder / "code" / "trap_loader.py").write_text(
            f"import os\nos.system({self.command(name)!r})\ndef _load_pyfunc(path):\n    return None\n",
            encoding="utf-8",
        )
        (folder / "python_model.pkl").write_bytes(self.pickled(f"{name}, python_model.pkl"))
        (folder / "MLmodel").write_text(
            json.dumps(
                {
                    "flavors": {
                        "python_function": {
                            "loader_module": "trap_loader",
                            "code": "code",
                            "python_model": "python_model.pkl",
                            "cloudpickle_version": "3.0.0",
                            "python_version": "3.11.7",
                        }
                    }
                }
            ),
            encoding="utf-8",
        )


class _Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, command):
        self._command = command

    def __reduce__(self):
        import os

        return os.system, (self._command,)
