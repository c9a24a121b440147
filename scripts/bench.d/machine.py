"""What it was measured on."""

import datetime
import os
import pathlib
import platform
import subprocess
import time
import tomllib

from server import SERVER


def facts(server, quick):
    info = server.connection.info()
    modules = [dict(zip(module[::2], module[1::2])) for module in server.connection.call("MODULE", "LIST")]
    root = pathlib.Path(__file__).resolve().parents[2]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "mode": "quick" if quick else "full",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "busy": round(busy(), 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "server": f"{'Valkey' if 'valkey_version' in info else 'Redis'} {info.get('valkey_version') or info['redis_version']}",
        "allocator": info["mem_allocator"],
        "module": tomllib.loads((root / "Cargo.toml").read_text())["package"]["version"],
        "module_loaded": ", ".join(f"{m[b'name'].decode()} {m[b'ver']}" for m in modules) or "none",
        "valgrind": subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }


def cpu_model():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def busy(seconds=2):
    """The share of the machine's CPU that others use, 0 .. 1, before anything is measured."""
    before = cpu_times()
    time.sleep(seconds)
    spent = [after - earlier for earlier, after in zip(before, cpu_times())]
    return 1 - (spent[3] + spent[4]) / sum(spent)  # idle and waiting for a disk


def cpu_times():
    with open("/proc/stat") as lines:
        return [int(word) for word in lines.readline().split()[1:9]]
