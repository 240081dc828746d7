#!/bin/sh
# AI Hub Analytics for the shell, version << version >>. It is made from the OpenAPI document of the server.
#
#   export AIHUB_URL=https://analytics.example AIHUB_API_KEY=…
#   ./aihub.sh get-metric requests --range last_7_days
#   ./aihub.sh help
#
# It needs curl, and openssl for webhooks.
<% macro quoted(text) -%>
'<< text | replace("'", "'\\''") >>'
<%- endmacro %>

set -u
# Values are never patterns of files.
set -f

version='<< version >>'
pause_max=30
timeout=${AIHUB_TIMEOUT:-30}
retries=${AIHUB_RETRIES:-4}
line_end='
'
return_character=$(printf '\r')

# ---- what the API can do ----

# Sets what is known of an operation.
# shellcheck disable=SC2016
operation() {
  method='' path='' values='' options='' required='' content='' streams=no page_list='' page_next='' page_option=''
  case $1 in
<% for operation in operations %>
  << operation.kebab >>)
    method=<< operation.method >>
    path=<< quoted(operation.path) >>
<% if operation.path_parameters %>
    values='
<%- for parameter in operation.path_parameters %><< parameter.name >><% if not loop.last %> <% endif %><% endfor %>'
<% endif %>
<% if operation.query_parameters %>
    options='
<%- for parameter in operation.query_parameters %><< parameter.kebab >>:<< parameter.name >>
<%- if not loop.last %> <% endif %><% endfor %>'
<% endif %>
<% for parameter in operation.query_parameters if parameter.required %>
    required="$required << parameter.kebab >>"
<% endfor %>
<% if operation.body %>
    content=<% if operation.id == "send_events" %>application/json<% else %><< operation.body.content_type >><% endif %>

<% endif %>
<% if operation.answers and not operation.is_json %>
    streams=yes
<% endif %>
<% if operation.page %>
    page_list='<< operation.page.list >>'
    page_next='<< operation.page.next >>'
    page_option='<< operation.page.parameter >>'
<% endif %>
    summary=<< quoted(operation.summary) >>
    ;;
<% endfor %>
  *) return 1 ;;
  esac
}

names='
<% for operation in operations %>
<< operation.kebab >>
<% endfor %>
'

# Prints what is known of the parameters and the body of an operation.
# shellcheck disable=SC2016
parameters() {
  case $1 in
<% for operation in operations if operation.description or operation.query_parameters or operation.body %>
  << operation.kebab >>)
<% if operation.description %>
    paragraph << quoted(operation.description) >>
<% endif %>
<% for parameter in operation.query_parameters %>
    parameter << parameter.kebab >> << parameter.kind >> << quoted(parameter.description) >>
<% endfor %>
<% if operation.body %>
    parameter data << operation.body.content_type >> '
<%- if operation.id == "send_events" %>A CloudEvent, or a list of them.
<%- elif operation.body.is_json %>
<%- for model in models if model.name == operation.body.type.typescript %>
<< model.typescript | replace("'", "'\\''") >>
<%- endfor %>
<%- endif %>'
<% endif %>
    ;;
<% endfor %>
  *) ;;
  esac
}

# ---- what is printed ----

usage() {
  printf 'aihub: %s\n' "$1" >&2
  exit 2
}

fail() {
  printf 'aihub: %s\n' "$1" >&2
  exit 1
}

paragraph() {
  printf '\n%s\n' "$1"
}

parameter() {
  printf '\n  --%s %s\n' "$1" "<$2>"
  [ -z "$3" ] || printf '      %s\n' "$3"
}

help() {
  if [ $# -eq 0 ]; then
    printf '%s\n' \
      'Usage:' \
      '  ./aihub.sh OPERATION [VALUE…] [--NAME VALUE…] [--data JSON | --data @FILE | --data -]' \
      '  ./aihub.sh pages OPERATION …    all pages, each in one line' \
      '  ./aihub.sh send-usage [--id ID] [--source SOURCE] [--subject SUBJECT] [--time TIME] COLUMN=VALUE…' \
      '  ./aihub.sh verify-webhook SECRET… < BODY' \
      '  ./aihub.sh help [OPERATION]' \
      '' \
      'AIHUB_URL is the address of the server, AIHUB_API_KEY the key. AIHUB_TIMEOUT (30) is how many seconds the' \
      'server may be silent, AIHUB_RETRIES (4) how often a request is sent again.' \
      '' \
      'Operations:'
    for name in $names; do
      operation "$name"
      printf '  %-34s %s\n' "$name" "$summary"
    done
    return
  fi
  operation "$1" || usage "there is no operation $1: see ./aihub.sh help"
  line="./aihub.sh $1"
  for name in $values; do
    line="$line <$name>"
  done
  [ -z "$options" ] || line="$line [--name value…]"
  for name in $required; do
    line="$line --$name <value>"
  done
  [ -z "$content" ] || line="$line --data <$content>"
  printf '%s\n\n%s\n' "$line" "$summary"
  parameters "$1"
  [ -z "$page_list" ] || paragraph "It has pages: ./aihub.sh pages $1 prints all of them. The items are in $page_list."
}

# ---- how values are written ----

# A text for an address.
encoded() {
  printf '%s' "$1" | od -An -v -tx1 | LC_ALL=C awk '
    BEGIN {
      for (code = 33; code < 127; code++) {
        letter = sprintf("%c", code)
        if (letter ~ /[A-Za-z0-9._~-]/) plain[sprintf("%02x", code)] = letter
      }
    }
    { for (at = 1; at <= NF; at++) printf "%s", ($at in plain) ? plain[$at] : "%" toupper($at) }'
}

# A text for JSON.
text() {
  printf '%s\n' "$1" | LC_ALL=C awk '
    BEGIN {
      for (code = 1; code < 32; code++) escape[sprintf("%c", code)] = sprintf("\\u%04x", code)
      escape["\""] = "\\\""
      escape["\\"] = "\\\\"
      printf "\""
    }
    {
      if (NR > 1) printf "\\n"
      for (at = 1; at <= length($0); at++) {
        letter = substr($0, at, 1)
        printf "%s", (letter in escape) ? escape[letter] : letter
      }
    }
    END { printf "\"" }'
}

# A value for JSON: what is JSON already stays, all else is a text.
value() {
  case $1 in
  *"$line_end"*) text "$1" ;;
  true | false | null | \"*\" | \{*\} | \[*\]) printf '%s' "$1" ;;
  *)
    if printf '%s\n' "$1" | grep -Eq '^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$'; then
      printf '%s' "$1"
    else
      text "$1"
    fi
    ;;
  esac
}

# A member of the outermost object of a JSON document, if it is a text (without its quotes), a number or a word.
member() {
  LC_ALL=C awk -v wanted="$1" '
    # What lies between two quotes is a record. Every second one is a text.
    BEGIN { RS = "\"" }
    within {
      said = said $0
      match($0, /\\*$/)
      if (RLENGTH % 2) {
        said = said "\""
        next
      }
      within = 0
      if (found) {
        # In the texts that are asked for, only these are escaped.
        result = ""
        for (at = 1; at <= length(said); at++) {
          if (substr(said, at, 1) == "\\") at++
          result = result substr(said, at, 1)
        }
        print result
        exit
      }
      next
    }
    {
      outside = $0
      if (depth == 1 && said == wanted && outside ~ /^[ \t\r\n]*:/) {
        sub(/^[ \t\r\n]*:[ \t\r\n]*/, "", outside)
        if (outside == "") found = 1
        else if (match(outside, /^[-+.A-Za-z0-9]+/)) {
          print substr(outside, 1, RLENGTH)
          exit
        }
      }
      depth += gsub(/[[{]/, "", outside) - gsub(/[]}]/, "", outside)
      within = 1
      said = ""
    }'
}

# A text for the settings of curl.
setting() {
  printf '%s' "$1" | sed 's/[\\"]/\\&/g'
}

uuid() {
  od -An -v -N16 -tx1 /dev/urandom | tr -d ' \n' |
    sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\)$/\1-\2-4\3-a\4-\5/'
}

# ---- requests ----

# Reads the values and options of an operation.
prepare() {
  [ $# -gt 0 ] || usage 'name an operation: see ./aihub.sh help'
  name=$1
  operation "$name" || usage "there is no operation $name: see ./aihub.sh help"
  shift
  left=$values query='' given=' ' cursor='' has_body=no is_literal=no
  while [ $# -gt 0 ]; do
    case $is_literal$1 in
    no--) is_literal=yes ;;
    no--help)
      help "$name"
      exit 0
      ;;
    no--*=*) option "${1%%=*}" "${1#*=}" ;;
    no--*)
      [ $# -gt 1 ] || usage "$1 needs a value"
      option "$1" "$2"
      shift
      ;;
    *) path_value "$1" ;;
    esac
    shift
  done
  [ -z "$left" ] || usage "${left%% *} is missing: see ./aihub.sh help $name"
  for one in $required; do
    case $given in
    *" $one "*) ;;
    *) usage "--$one is missing: see ./aihub.sh help $name" ;;
    esac
  done
  [ -z "$content" ] || [ $has_body = yes ] || usage "--data is missing: see ./aihub.sh help $name"
}

path_value() {
  [ -n "$left" ] || usage "$1 is too much: see ./aihub.sh help $name"
  one=${left%% *}
  [ -n "$1" ] || usage "$one is empty"
  left=${left#"$one"}
  left=${left# }
  path=${path%%"{$one}"*}$(encoded "$1")${path#*"{$one}"}
}

option() {
  if [ "$1" = --data ]; then
    body "$2"
    return
  fi
  for one in $options; do
    if [ "--${one%%:*}" = "$1" ]; then
      given="$given${one%%:*} "
      one=${one#*:}
      if [ "$one" = "$page_option" ]; then
        cursor=$2
      else
        query="$query&$one=$(encoded "$2")"
      fi
      return
    fi
  done
  usage "$name has no option $1: see ./aihub.sh help $name"
}

body() {
  [ -n "$content" ] || usage "$name takes no data"
  case $1 in
  - | @-) cat > "$folder/body" ;;
  @*)
    [ -f "${1#@}" ] && [ -r "${1#@}" ] || usage "${1#@} cannot be read"
    cat < "${1#@}" > "$folder/body"
    ;;
  *) printf '%s' "$1" > "$folder/body" ;;
  esac
  has_body=yes
}

check_environment() {
  : "${AIHUB_URL:=}" "${AIHUB_API_KEY:=}"
  [ -n "$AIHUB_URL" ] || usage 'AIHUB_URL is not set'
  [ -n "$AIHUB_API_KEY" ] || usage 'AIHUB_API_KEY is not set'
  case $AIHUB_URL in
  *[[:space:][:cntrl:]]*) usage 'AIHUB_URL has a space or the end of a line' ;;
  esac
  case $AIHUB_API_KEY in
  *[![:alnum:]._~+/=-]*) usage 'AIHUB_API_KEY has a letter that no key has' ;;
  esac
  case $retries$timeout in
  *[!0-9]*) usage 'AIHUB_RETRIES and AIHUB_TIMEOUT are whole numbers' ;;
  esac
  while [ "${AIHUB_URL%/}" != "$AIHUB_URL" ]; do
    AIHUB_URL=${AIHUB_URL%/}
  done
}

# What curl reads from its standard input: nobody else sees the key. For that reason it is printed by `echo`, which is
# no process of its own in any shell.
settings() {
  echo "header = \"Authorization: Bearer $AIHUB_API_KEY\""
  printf '%s\n' \
    "url = \"$(setting "$AIHUB_URL$address")\"" \
    "request = $method" \
    'header = "Accept: application/json, */*;q=0.5"' \
    'header = "Expect:"' \
    "user-agent = aihub-analytics-curl/$version" \
    'proto = "=http,https"' \
    "connect-timeout = $timeout" \
    silent show-error include no-buffer globoff path-as-is suppress-connect-headers
  # A stream of events may be silent.
  case $name in
  stream-*) ;;
  *) printf '%s\n' 'speed-limit = 1' "speed-time = $timeout" ;;
  esac
  if [ -n "$content" ]; then
    printf '%s\n' "header = \"Content-Type: $content\"" "data-binary = \"@$(setting "$folder/body")\""
  else
    case $method in
    POST | PUT | PATCH) printf '%s\n' 'header = "Content-Type:"' 'data = ""' ;;
    esac
  fi
  if [ -n "$idempotency_key" ]; then
    printf '%s\n' "header = \"Idempotency-Key: \\\"$idempotency_key\\\"\""
  fi
}

# Reads headers, and what follows: an answer goes on, a problem is kept.
receive() {
  status='' after='' type=''
  while IFS= read -r line; do
    line=${line%"$return_character"}
    case $line in
    HTTP/*)
      status=${line#* }
      status=${status%% *}
      ;;
    [Rr][Ee][Tt][Rr][Yy]-[Aa][Ff][Tt][Ee][Rr]:*) after=$(printf '%s' "${line#*:}" | tr -d ' \t') ;;
    [Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Tt][Yy][Pp][Ee]:*) type=$(printf '%s' "${line#*:}" | tr -d ' \t') ;;
    '')
      # Others follow those of a 100.
      case $status in
      1*) ;;
      *) break ;;
      esac
      ;;
    esac
  done
  printf '%s\n' "$status" > "$folder/status"
  printf '%s\n' "$after" > "$folder/after"
  printf '%s\n' "$type" > "$folder/type"
  case $status in
  2*)
    if [ $streams = yes ]; then
      cat
    else
      cat > "$folder/answer"
    fi
    ;;
  *) cat > "$folder/problem" ;;
  esac
}

# Sends a request until there is an answer. It is in a file, or printed already if it streams.
request() {
  address=$path
  parts=$query
  [ -z "$cursor" ] || parts="$parts&$page_option=$(encoded "$cursor")"
  [ -z "$parts" ] || address="$path?${parts#&}"
  case $method in
  POST | PATCH) idempotency_key=$(uuid) ;;
  *) idempotency_key='' ;;
  esac
  attempt=0
  while :; do
    : > "$folder/answer"
    : > "$folder/problem"
    {
      settings | curl -q -K - 2> "$folder/said"
      echo $? > "$folder/exit"
    } | receive
    read -r status < "$folder/status" || status=''
    read -r after < "$folder/after" || after=''
    read -r curl_exit < "$folder/exit" || curl_exit=1
    may_repeat=no
    if [ "$curl_exit" -eq 0 ]; then
      case $status in
      2*) return ;;
      408 | 429 | 500 | 502 | 503 | 504) may_repeat=yes ;;
      409) if grep -q '"code":"request_in_progress"' "$folder/problem"; then may_repeat=yes; fi ;;
      esac
    else
      after=''
      case $status$streams in
      # Part of it is printed. When nobody reads on, that is no fault of ours.
      2*yes)
        [ "$curl_exit" -ne 23 ] && [ "$curl_exit" -ne 141 ] || exit 1
        ;;
      *) may_repeat=yes ;;
      esac
    fi
    if [ $may_repeat = no ] || [ "$attempt" -ge "$retries" ]; then
      problem
    fi
    pause
    attempt=$((attempt + 1))
  done
}

problem() {
  if [ "$curl_exit" -ne 0 ]; then
    fail "no answer: $(cat "$folder/said")"
  elif [ -s "$folder/problem" ]; then
    cat "$folder/problem" >&2
    echo >&2
    exit 1
  fi
  fail "the answer has the status $status"
}

pause() {
  case $after in
  *[!0-9.]*) after='' ;;
  esac
  seed=$(od -An -v -N3 -tu4 /dev/urandom | tr -d ' \n')
  seconds=$(LC_ALL=C awk -v after="$after" -v attempt="$attempt" -v seed="$seed" -v most="$pause_max" 'BEGIN {
    srand(seed)
    pause = 0.5 * (0.5 + rand() / 2)
    for (done = 0; done < attempt; done++) pause *= 2
    if (after != "") pause = after + 0
    if (pause > most + 0) pause = most
    printf "%.3f", pause
  }')
  sleep "$seconds"
}

answer() {
  [ $streams = no ] || return 0
  cat "$folder/answer" || exit 1
  read -r type < "$folder/type" || type=''
  # A line of JSON ends for people too.
  case $type in
  application/json*) echo 2> /dev/null ;;
  esac
}

# ---- commands ----

call() {
  prepare "$@"
  check_environment
  request
  answer
}

pages() {
  prepare "$@"
  [ -n "$page_list" ] || usage "$name has no pages"
  check_environment
  while :; do
    request
    tr -d '\r\n' < "$folder/answer" || exit 1
    echo 2> /dev/null || exit 1
    cursor=$(member "$page_next" < "$folder/answer")
    more=$(member has_more < "$folder/answer")
    case $cursor in
    '' | null) return ;;
    esac
    [ "$more" != false ] || return 0
  done
}

send_usage() {
  id='' source='' subject='' time='' data=''
  while [ $# -gt 0 ]; do
    case $1 in
    --id=* | --source=* | --subject=* | --time=*) event_option "${1%%=*}" "${1#*=}" ;;
    --id | --source | --subject | --time)
      [ $# -gt 1 ] || usage "$1 needs a value"
      event_option "$1" "$2"
      shift
      ;;
    [!=-]*=*) data="$data${data:+,}$(text "${1%%=*}"):$(value "${1#*=}")" ;;
    *) usage "$1 is neither COLUMN=VALUE nor an option: see ./aihub.sh help" ;;
    esac
    shift
  done
  [ -n "$data" ] || usage 'send-usage needs a column, such as model=gpt-4o'
  check_environment
  if [ -z "$source" ]; then
    prepare get-me
    request
    source=$(member organization_id < "$folder/answer")
    case $source in
    '' | null) source=/curl ;;
    *) source=/organizations/$source/curl ;;
    esac
  fi
  event='"specversion":"1.0","type":"usage.request"'
  event="$event,\"id\":$(text "${id:-$(uuid)}"),\"source\":$(text "$source")"
  event="$event,\"time\":$(text "${time:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}")"
  [ -z "$subject" ] || event="$event,\"subject\":$(text "$subject")"
  prepare send-events --data "{$event,\"data\":{$data}}"
  request
  answer
}

event_option() {
  case $1 in
  --id) id=$2 ;;
  --source) source=$2 ;;
  --subject) subject=$2 ;;
  --time) time=$2 ;;
  esac
}

# By Standard Webhooks 1.0.
verify_webhook() {
  [ $# -gt 0 ] || usage 'verify-webhook needs a secret'
  command -v openssl > "$folder/said" || usage 'verify-webhook needs openssl'
  : "${WEBHOOK_ID:=}" "${WEBHOOK_TIMESTAMP:=}" "${WEBHOOK_SIGNATURE:=}"
  if [ -z "$WEBHOOK_ID" ] || [ -z "$WEBHOOK_SIGNATURE" ]; then
    fail 'WEBHOOK_ID or WEBHOOK_SIGNATURE is missing'
  fi
  case $WEBHOOK_TIMESTAMP in
  '' | 0* | *[!0-9]* | ?????????????*) fail 'WEBHOOK_TIMESTAMP is no number' ;;
  esac
  age=$(($(date +%s) - WEBHOOK_TIMESTAMP))
  age=${age#-}
  [ "$age" -le "${WEBHOOK_TOLERANCE:-300}" ] || fail "it is $age seconds old or ahead"
  cat > "$folder/body"
  for secret; do
    key=$(printf '%s' "${secret#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
    # Everybody can sign with an empty key.
    [ -n "$key" ] || usage 'a secret is empty, or no base64'
    expected=$({
      printf '%s.%s.' "$WEBHOOK_ID" "$WEBHOOK_TIMESTAMP"
      cat "$folder/body"
    } | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
    [ -n "$expected" ] || fail 'openssl cannot sign'
    for signature in $WEBHOOK_SIGNATURE; do
      if [ "$signature" = "v1,$expected" ]; then
        cat "$folder/body"
        return
      fi
    done
  done
  fail 'no signature fits'
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
'') usage 'name an operation: see ./aihub.sh help' ;;
help | --help | -h)
  help "$@"
  exit
  ;;
esac

folder=$(mktemp -d "${TMPDIR:-/tmp}/aihub.XXXXXX") || fail 'no folder for files'
trap 'rm -rf "$folder"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
umask 077

case $command in
pages) pages "$@" ;;
send-usage) send_usage "$@" ;;
verify-webhook) verify_webhook "$@" ;;
*) call "$command" "$@" ;;
esac
