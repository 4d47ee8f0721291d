"""The command `compression-order`: what a person asks for and no rule of the workflow runs."""
