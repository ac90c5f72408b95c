"""badkeys over public keys in PEM, one file after the other: prints for each, on a line of its own, the names of the
checks that found something, as a JSON list.

The block list is looked for where XDG_CACHE_HOME says, and nothing is fetched.
"""

import json
import sys

import badkeys

CHECKS = ["fermat", "roca", "smallfactors", "blocklist"]

for path in sys.argv[1:]:
    with open(path, encoding="ascii") as file:
        found = badkeys.checkpubkey(file.read(), checks=CHECKS)
    if found["type"] not in ("rsa", "ec"):
        sys.exit(f"{path}: badkeys does not read it: {found}")
    print(json.dumps(sorted(found["results"])), flush=True)
