#!/bin/sh
# The scenario with the wrapper of curl: prints one line of JSON. jq reads the answers.
set -eu
language="$1"
aihub="$SDK/aihub.sh"
model="scenario-$language"
organization=$("$aihub" get-me | jq -r .organization_id)
source="/organizations/$organization/scenario-$language"

# events FROM TO
events() {
  jq -cn --arg source "$source" --arg model "$model" --arg time "$SCENARIO_TIME" --argjson from "$1" --argjson to "$2" \
    '[range($from; $to) | {specversion: "1.0", id: "s-\(.)", source: $source, type: "usage.request", time: $time,
      data: {model: $model, input_tokens: ., output_tokens: 1, status_code: 200}}]'
}

accepted=$(events 1 8 | "$aihub" send-events --data - | jq .accepted)
duplicate=$(events 1 8 | "$aihub" send-events --data - | jq .duplicate)
queued=$(events 8 31 | "$aihub" send-events --data - | jq .accepted)
wrong=$(events 31 32 | jq -c '[.[] | .data = {model: "x", input_tokens: -1}]')
rejected=$("$aihub" send-events --data "$wrong" 2>&1 >/dev/null | jq -c '[.results[].code]' || true)
sql="select count(*) as n, sum(input_tokens) as tokens from usage_events where source = \$source"
rows=$(jq -cn --arg sql "$sql" --arg source "$source" '{sql: $sql, params: {source: $source}}' |
  "$aihub" run-query --data - | jq -c .rows)
metric=$("$aihub" get-metric requests --range last_7_days --today true --filter "model=$model" | jq '.rows[0].value')
error=$("$aihub" get-invoice inv_none 2>&1 >/dev/null | jq -c '[.status, .code, .instance != null]' || true)
query_error=$("$aihub" run-query --data '{"sql": "select nothing from nowhere"}' 2>&1 >/dev/null | jq .code || true)
pages=$("$aihub" pages list-requests --limit 4 --model "$model" | jq -s '[.[].requests | length] | add')
retried=$(AIHUB_URL="$AIHUB_FAULTY_URL" "$aihub" create-annotation \
  --data "{\"at\": \"2026-01-31T00:00:00Z\", \"text\": \"$language\"}" | jq --arg text "$language" '.text == $text')
jq -cnS --argjson accepted "$accepted" --argjson duplicate "$duplicate" --argjson queued "$queued" \
  --argjson rejected "$rejected" --argjson rows "$rows" --argjson metric "$metric" --argjson error "$error" \
  --argjson query_error "$query_error" --argjson pages "$pages" --argjson retried "$retried" '$ARGS.named'
