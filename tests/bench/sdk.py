"""The tap of the Python SDK that ours is compared with (sdk_tap/tap.py)."""

import json
import os

from people import write
from slapd import ADMIN, PASSWORD, SUFFIX

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sdk_tap", "tap.py")


def sdk_client(context, server):
    """Its command for a server, with its catalog's stream selected as it comes."""
    folder = context.folder("sdk")
    os.makedirs(folder)
    settings = {"url": server.url, "bind_dn": ADMIN, "password": PASSWORD, "base_dn": SUFFIX}
    config = write(os.path.join(folder, "config.json"), [json.dumps(settings)])
    return [context.sdk_python, SCRIPT, "--config", config]
