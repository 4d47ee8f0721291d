"""The rooms of the package."""

# lowest first: a room imports only rooms before it
ROOMS = (
    "common",
    "orderings",
    "statistics",
    "text",
    "architecture",
    "costs",
    "assets",
    "judge",
    "checkpoint",
    "training",
    "methods",
    "study",
    "planning",
    "workflow",
    "stages",
    "evaluation",
    "results",
    "findings",
    "commands",
)
