<?php

/** One method for each operation of the API. This file is made from the OpenAPI document. */

declare(strict_types=1);

namespace AiHub\Analytics;

<% macro body_name(operation) -%>
<% if operation.id == "send_events" %>events<% else %>body<% endif %>
<%- endmacro %>
<% macro body_type(operation) -%>
<% if not operation.body.is_json %>string
<%- elif operation.id == "send_events" %>array
<%- else %>array|\stdClass
<%- endif %>
<%- endmacro %>
<% macro query_type(parameter) -%>
<% if parameter.kind == "integer" %>?int
<%- elif parameter.kind == "boolean" %>?bool
<%- elif parameter.kind == "number" %>?float
<%- elif parameter.kind == "array" %>?array
<%- else %>?string
<%- endif %>
<%- endmacro %>
<% macro documentation(operation) -%>
<% if operation.description %>

     * << operation.description >>
     *
<%- endif %>
<% if operation.body and operation.id == "send_events" %>

     * @param array<string, mixed>|list<array<string, mixed>> $events One event, or several.
<%- elif operation.body and operation.body.is_json %>

     * @param << operation.body.type.php >>|\stdClass $body
<%- elif operation.body %>

     * @param string $body As `<< operation.body.content_type >>`.
<%- endif %>
<% for parameter in operation.query_parameters %>

     * @param << query_type(parameter) >> $<< parameter.camel >>
<%- if parameter.description %> << parameter.description >><% endif %>
<%- endfor %>
<% endmacro %>
<% macro signature(operation) -%>
<% for parameter in operation.path_parameters %>

        string|int $<< parameter.camel >>,
<%- endfor %>
<% if operation.body %>

        << body_type(operation) >> $<< body_name(operation) >>
<%- if not operation.body.required and operation.id != "send_events" %> = << "[]" if operation.body.is_json else "''" >>
<%- endif %>,
<%- endif %>
<% for parameter in operation.query_parameters %>

        << query_type(parameter) >> $<< parameter.camel >> = null,
<%- endfor %>
<%- endmacro %>
<% macro path_values(operation) -%>
[<% for parameter in operation.path_parameters %>'<< parameter.name >>' => $<< parameter.camel >>
<%- if not loop.last %>, <% endif %><% endfor %>]
<%- endmacro %>
<% macro query_values(operation) -%>
[<% for parameter in operation.query_parameters %>

                '<< parameter.name >>' => $<< parameter.camel >>,
<%- endfor %>

            ]
<%- endmacro %>
/** Every operation of the API. */
abstract class Operations
{
    /**
     * Sends a request, and reads its answer.
     *
     * @param array<string, string|int> $pathParameters
     * @param array<string, mixed> $query
     */
    abstract protected function call(
        string $method,
        string $path,
        array $pathParameters = [],
        array $query = [],
        mixed $body = null,
        string $contentType = 'application/json',
    ): mixed;

    /**
     * All pages, one item after the other.
     *
     * @param array<string, string|int> $pathParameters
     * @param array<string, mixed> $query
     * @return \Generator<int, mixed>
     */
    abstract protected function pages(
        string $path,
        array $pathParameters,
        array $query,
        string $items,
        string $following,
        string $parameter,
    ): \Generator;

    /**
     * An empty array as an object: in JSON it would be a list.
     *
     * @param array<mixed>|\stdClass $body
     * @return array<mixed>|\stdClass
     */
    private static function members(array|\stdClass $body): array|\stdClass
    {
        return $body === [] ? new \stdClass() : $body;
    }
<% for operation in operations %>

    /**
     * << operation.summary >>
     *<< documentation(operation) >>
<% if operation.answers %>
     * @return << operation.answer_type.php >>
<% endif %>
     * @throws ApiError
     * @throws ConnectionFailed
     */
    public function << operation.camel >>(<< signature(operation) >>
<%- if signature(operation) %>

    ): <% if operation.answers %>mixed<% else %>void<% endif %> {
<% else %>
): <% if operation.answers %>mixed<% else %>void<% endif %>

    {
<% endif %>
<% if operation.answers %>
        return $this->call(
<% else %>
        $this->call(
<% endif %>
            '<< operation.method >>',
            '<< operation.path >>',
<% if operation.path_parameters %>
            pathParameters: << path_values(operation) >>,
<% endif %>
<% if operation.query_parameters %>
            query: << query_values(operation) >>,
<% endif %>
<% if operation.id == "send_events" %>
            body: $events,
            contentType: 'application/json',
<% elif operation.body %>
            body: <% if operation.body.is_json %>self::members($body)<% else %>$body<% endif %>,
            contentType: '<< operation.body.content_type >>',
<% endif %>
        );
    }
<% if operation.page %>

    /**
     * << operation.summary >> All pages, one item after the other.
     *<< documentation(operation) >>
     * @return \Generator<int, << operation.page.type.php ~ ">" >>
     * @throws ApiError
     * @throws ConnectionFailed
     */
    public function iterate<< operation.camel[:1] | upper >><< operation.camel[1:] >>(<< signature(operation) >>
    ): \Generator {
        return $this->pages(
            '<< operation.path >>',
            pathParameters: << path_values(operation) >>,
            query: << query_values(operation) >>,
            items: '<< operation.page.list >>',
            following: '<< operation.page.next >>',
            parameter: '<< operation.page.parameter >>',
        );
    }
<% endif %>
<% endfor %>
}
