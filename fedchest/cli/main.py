"""The `fedchest` command: mounts the groups and turns a foreseeable fault into one sentence and exit status 2."""

import sys

import click

from fedchest.cli.audit import audit
from fedchest.cli.data import data
from fedchest.cli.evaluate import evaluate, predict
from fedchest.cli.simulate import demo, simulate
from fedchest.cli.train import pretrain, train
from fedchest.cli.witness import witness
from fedchest.errors import FedChestError

FAULT, INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fedchest")
def fedchest() -> None:
    """Federated, differentially private chest-radiograph classification with an on-chain audit trail."""


for command in (simulate, demo, train, pretrain, evaluate, predict, data, audit, witness):
    fedchest.add_command(command)


def main() -> None:
    """Entry point of the console script."""
    try:
        status = fedchest.main(standalone_mode=False)
    except FedChestError as error:
        click.echo(f"fedchest: {error}", err=True)
        status = FAULT
    except click.ClickException as error:
        error.show()
        status = FAULT
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "fedchest: interrupted; what was finished is kept (--resume RUN goes on with a run).",
            err=True,
        )
        status = INTERRUPTED
    sys.exit(status or 0)
