"""A judge that gives good answers."""

import json
import os

from chat_server import Reply, Request
from lab import ROOT

PYTHON = os.environ.get("PYTHON_JUDGE", str(ROOT / ".venv-judge" / "bin" / "python"))
STEPS = ["Check the facts.", "Check the relevance."]


def good(request: Request) -> str | Reply:
    """A judge that gives 8 of 10, likely 7 or 9 as well, and one yes and one no."""
    asked = request["messages"][0]["content"]
    if "generate 3-4 concise evaluation steps" in asked:
        return json.dumps({"steps": STEPS})
    if "Prompt Instructions:" in asked:
        return 'Sure:\n{"verdicts": [{"verdict": "yes"}, {"verdict": "no", "reason": "long"}]}'
    text = '{"reason": "fine", "score": 8}'
    if not request.get("logprobs"):
        return text
    likely = {"8": 0.6, "9": 0.2, "7": 0.1, "x": 0.05, "1": 0.001}
    return Reply(text, tokens=[('{"reason": "fine", "score": ', {"{": 1.0}), ("8", likely)])
