"""One method for each operation of the API. This file is made from the OpenAPI document."""

from typing import Any, Dict, Iterator, List, Literal, Mapping, Optional, Sequence, Tuple, Union

from .models import *  # noqa: F403

__all__ = ["Operations"]


class Operations:
    """Every operation of the API."""

    def _call(
        self,
        method: str,
        path: str,
        *,
        path_parameters: Sequence[Tuple[str, Any]] = (),
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        raise NotImplementedError

    def _pages(self, ask: Any, items: str, following: str, parameter: str, arguments: Dict[str, Any]) -> Iterator[Any]:
        raise NotImplementedError
<% macro signature(operation) -%>
self
<%- for parameter in operation.path_parameters %>, << parameter.snake >>: <% if parameter.kind == "integer" %>int<% else %>str<% endif %><% endfor %>
<%- if operation.body %>, body: <% if operation.id == "send_events" %>Union[Mapping[str, Any], Sequence[Mapping[str, Any]]]<% elif operation.body.is_json %><< operation.body.type.python >><% else %>str<% endif %><% if not operation.body.required and operation.id != "send_events" %> = None<% endif %><% endif %>
<%- if operation.query_parameters %>, *<% for parameter in operation.query_parameters %>, << parameter.snake >>: Optional[<% if parameter.kind == "integer" %>int<% elif parameter.kind == "boolean" %>bool<% elif parameter.kind == "number" %>float<% elif parameter.kind == "array" %>Sequence[str]<% else %>str<% endif %>] = None<% endfor %><% endif %>
<%- endmacro %>
<% for operation in operations %>

    def << operation.id >>(<< signature(operation) >>) -> << operation.answer_type.python >>:
        """<< operation.summary >>
<% if operation.description %>

        << operation.description >>
<% endif %>
<% for parameter in operation.query_parameters if parameter.description %>

        << parameter.snake >>: << parameter.description >>
<% endfor %>
        """
        return self._call(  # type: ignore[no-any-return]
            "<< operation.method >>",
            "<< operation.path >>",
<% if operation.path_parameters %>
            path_parameters=[<% for parameter in operation.path_parameters %>("<< parameter.name >>", << parameter.snake >>)<% if not loop.last %>, <% endif %><% endfor %>],
<% endif %>
<% if operation.query_parameters %>
            query={<% for parameter in operation.query_parameters %>"<< parameter.name >>": << parameter.snake >><% if not loop.last %>, <% endif %><% endfor %>},
<% endif %>
<% if operation.body %>
            body=body,
<% if operation.id == "send_events" %>
            content_type="application/json",
<% else %>
            content_type="<< operation.body.content_type >>",
<% endif %>
<% endif %>
        )
<% if operation.page %>

    def iterate_<< operation.id >>(<< signature(operation) >>) -> Iterator[<< operation.page.type.python >>]:
        """<< operation.summary >> All pages, one item after the other."""
        arguments: Dict[str, Any] = {<% for parameter in operation.path_parameters %>"<< parameter.snake >>": << parameter.snake >>, <% endfor %><% for parameter in operation.query_parameters %>"<< parameter.snake >>": << parameter.snake >><% if not loop.last %>, <% endif %><% endfor %>}
        return self._pages(self.<< operation.id >>, "<< operation.page.list >>", "<< operation.page.next >>", "<< operation.page.snake >>", arguments)
<% endif %>
<% endfor %>
