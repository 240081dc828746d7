"""The types of the API, for type checkers. This file is made from the OpenAPI document."""

from typing import Any, Dict, List, Literal, Optional, TypedDict, Union

<% for model in models %>

<% if model.is_object %>
<< model.name >> = TypedDict(
    "<< model.name >>",
    {
<% for member in model.members %>
        "<< member.name >>": << member.python | replace("\"", "'") >>,
<% endfor %>
    },
    total=False,
)
<% else %>
<< model.name >> = Union[<< model.python | replace("\"", "'") >>]
<% endif %>
<% endfor %>
