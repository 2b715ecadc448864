"""`costsim claims`: what is said in public about DeepSeek's cost and efficiency, each claim computed and judged."""

from __future__ import annotations

import argparse

from costsim.cli.output import finish, progress

NAME = "claims"
HELP = "public claims about DeepSeek, each computed and judged by stated rules"
EXAMPLE = """
costsim claims
costsim claims mla-93 train-6m --json
costsim claims --out claims.html
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID", help="claims by id; default: all of them")


def run(args: argparse.Namespace) -> int:
    from costsim.evidence.claims import judge, load_claims
    from costsim.report.claims import claim_document, claims_document, overview
    from costsim.report.tables import render_document

    found = []
    count = len(args.ids) or len(load_claims())
    for number, judged in enumerate(judge(args.ids), start=1):
        progress(f"{number} of {count}: {judged.claim.id}: {judged.verdict}")
        found.append(judged)
    if len(found) == 1:
        return finish(args, claim_document(found[0]))
    return finish(args, claims_document(found), lambda: render_document(overview(found)))
