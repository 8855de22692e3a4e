"""Compiles the .proto files of the project into the package that is being built.

Nothing is written beside the sources: what is generated goes into the wheel only.
"""

import tempfile
from pathlib import Path

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).resolve().parents[2] / "proto"
# The services that clients speak; the rest of the wire format is between servers.
FILES = ["v1/common", "v1/error", "v1/kv", "v1/shard_manager", "lab/v1/lab"]


class GenerateMessages(BuildHookInterface):
    """Adds `shardedkv.v1` and `shardedkv.lab.v1`."""

    def initialize(self, version, build_data):
        """Called before the wheel is made."""
        if not PROTOS.is_dir():
            raise FileNotFoundError(f"{PROTOS} is missing: build this package in a checkout of the project")
        self.generated = tempfile.TemporaryDirectory()
        out = self.generated.name
        files = [str(PROTOS / "shardedkv" / f"{name}.proto") for name in FILES]
        flags = [f"--proto_path={PROTOS}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
        if protoc.main(["protoc", *flags, *files]) != 0:
            raise RuntimeError("the .proto files can't be compiled: see above")
        build_data["force_include"][f"{out}/shardedkv"] = "shardedkv"

    def finalize(self, version, build_data, artifact_path):
        """Called when the wheel is made."""
        self.generated.cleanup()
