"""wordsight pruners, wordsight tasks, wordsight codebook criteria: what there is to choose from."""

from __future__ import annotations

from wordsight.cli.common import AsJson, print_result


def pruners(as_json: AsJson = False) -> None:
    """List the pruners: what each keeps, which options have to be given, what it needs, and its paper."""
    from wordsight.reports.catalog import catalog_tables, pruner_catalog

    print_result(pruner_catalog(), catalog_tables, as_json=as_json)


def tasks(as_json: AsJson = False) -> None:
    """List the tasks: what is asked, and which options have to be given; a file of questions is one, too."""
    from wordsight.reports.catalog import catalog_tables, task_catalog

    print_result(task_catalog(), catalog_tables, as_json=as_json)


def criteria(as_json: AsJson = False) -> None:
    """List what makes a token redundant (--criterion), and the paper's settings for its models (--preset)."""
    from wordsight.reports.catalog import catalog_tables, criteria_catalog

    print_result(criteria_catalog(), catalog_tables, as_json=as_json)
