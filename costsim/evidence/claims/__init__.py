"""Public claims about DeepSeek's cost and efficiency, each computed and judged by stated rules."""

from costsim.evidence.claims.judge import COMPUTED, judge, judged
from costsim.evidence.claims.rules import Claim, Judged, load_claims

__all__ = ["COMPUTED", "Claim", "Judged", "judge", "judged", "load_claims"]
