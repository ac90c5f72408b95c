"""pkilint as a process that is started once: importing it takes longer than linting.

Reads one question per line, `{"linter": NAME, "files": [PATH, ...]}`, and answers each with one line: what pkilint's own
command of that name prints with `--format JSON`, or `{"error": TEXT}`.
"""

import contextlib
import io
import json
import sys

from pkilint.bin import lint_crl, lint_ocsp_response, lint_pkix_cert, lint_pkix_signer_signee_cert_chain

LINTERS = {
    "certificate": (lint_pkix_cert.main, []),
    "chain": (lint_pkix_signer_signee_cert_chain.main, []),
    "crl": (lint_crl.main, ["--type", "CRL", "--profile", "PKIX"]),
    "ocsp": (lint_ocsp_response.main, []),
}


def answer(question):
    main, arguments = LINTERS[question["linter"]]
    arguments = ["lint", *arguments, "--severity", "ALL", "--format", "JSON", "--document-format", "DER"]
    printed, complaint = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaint):
        main(arguments + question["files"])
    if complaint.getvalue():
        return {"error": complaint.getvalue()}
    return json.loads(printed.getvalue())


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    # argparse ends the process when it dislikes its arguments.
    except (Exception, SystemExit) as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), flush=True)
