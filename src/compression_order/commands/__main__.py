"""`python -m compression_order.commands` is `compression-order`, without an installation."""

from compression_order.commands.entry import main

main()
