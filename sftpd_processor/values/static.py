"""The built-in `static`: values from the configuration itself, or from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sftpd_processor.config.kinds import Line, LocalPath
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.values.api import ProviderContext, ProviderFailed, Query
from sftpd_processor.values.table import BadTable, Rows, WatchedTable
from sftpd_processor.values.words import as_text


def _texts(customers: dict[str, Any]) -> Rows:
    rows: Rows = {}
    for number, (customer, its) in enumerate(customers.items(), 1):
        try:
            rows[customer] = _row(its)
        except ProviderFailed as error:  # the customer's own key is not for an error text
            raise ValueError(f"the customer at place {number} {error}") from None
    return rows


def _row(its: Any) -> dict[str, str]:
    if not isinstance(its, dict):
        raise ProviderFailed('has no table of values, such as { balance = "12.50" }')
    if not all(word and word.isprintable() for word in its):
        raise ProviderFailed("has a name that is not one line of visible text")
    return {word: text for word, value in its.items() if (text := as_text(value)) is not None}


Customers = Annotated[dict[str, Any], Field(min_length=1), AfterValidator(_texts)]
"""Checked here and not by their type: pydantic would tell the place of a mistake by the customer."""


class Options(BuiltinOptions):
    """Either `customers`: for each its values; or `csv`: a file with a row for each, the columns being the values.

    `by`: what customers are told apart by, in either. `key`: the column that holds it, called like that unless given.
    """

    customers: Customers | None = None
    csv: LocalPath | None = None
    key: Line | None = None
    by: Literal["customerUID", "outboundChannelAddress"] = "customerUID"


class StaticProvider:
    """A look-up in memory: it answers at once, without a task or a thread."""

    def __init__(self, name: str, options: Options, rows: Rows, table: WatchedTable | None) -> None:
        self.name = name
        self.words = frozenset(word for row in rows.values() for word in row) if table is None else table.words
        self._by_address = options.by == "outboundChannelAddress"
        self._table = table
        self._rows = rows

    def open(self) -> None:
        if self._table is not None:
            self._table.watch(self._replaced)

    def ask(self, query: Query, words: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG002
        key = query.outbound_channel_address if self._by_address else query.customer_uid
        return self._rows.get(key, _NOTHING) if key is not None else _NOTHING

    def close(self) -> None:
        if self._table is not None:
            self._table.close()

    def _replaced(self, rows: Rows) -> None:
        self._rows = rows


_NOTHING: dict[str, str] = {}


def build(name: str, options: Options, context: ProviderContext, where: str) -> StaticProvider:  # noqa: ARG001
    if (options.customers is None) == (options.csv is None):
        raise ConfigurationError([Problem(where, "give either `customers` or `csv`")])
    if options.csv is None:
        if options.key is not None:
            raise ConfigurationError([Problem(f"{where}.key", "is a column of `csv`; leave it out")])
        return StaticProvider(name, options, options.customers or {}, None)
    table = WatchedTable(name, options.csv, options.key or options.by)
    try:
        return StaticProvider(name, options, table.read(), table)
    except BadTable as error:
        raise ConfigurationError([Problem(f"{where}.csv", str(error))]) from None
