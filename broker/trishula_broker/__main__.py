"""``python -m trishula_broker`` is the ``broker`` command."""

from trishula_broker.cli import main

main(prog_name="broker")
