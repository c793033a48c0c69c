#!/bin/sh
# Draws a picture through a running server with nothing but curl; `make serve` starts one.
#
#     sh examples/curl.sh "a large red circle on the left on a blue background" circle.png
#
# PARA_ATTN_SERVER_URL: where the server is, if not on this machine's port 5000.
set -eu
url="${PARA_ATTN_SERVER_URL:-http://127.0.0.1:5000}"
prompt="$1"
picture="$2"

# A prompt with quotes or backslashes in it would have to be escaped for JSON first.
answer=$(curl --fail-with-body -sS "$url/generate" -H 'Content-Type: application/json' -d "{\"prompt\": \"$prompt\"}")
id=$(printf '%s' "$answer" | sed -n 's/.*"request_id": *"\([0-9a-f]*\)".*/\1/p')

# The answer is held until the job ends, for at most 60 seconds: 202 is "not yet", so ask again.
while [ "$(curl -sS -o /dev/null -w '%{http_code}' "$url/request_status/$id?wait=60")" = 202 ]; do :; done

curl --fail-with-body -sS "$url/outputs/$id" -o "$picture"
echo "$picture"
