"""Where a kept figure comes from: the commit, and the machine."""

import os
import platform
import subprocess


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo") as file:
        names = (line.split(":")[1].strip() for line in file if line.startswith("model name"))
        return f"{next(names, platform.machine())}, {os.cpu_count()} cores"
