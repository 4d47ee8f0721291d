"""Run `compression-order` without installing it: `python -m compression_order.commands`."""

from compression_order.commands.entry import main

main()
