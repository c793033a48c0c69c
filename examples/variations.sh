#!/bin/sh
# Sends a picture to a server that runs examples/variations.py, with nothing but curl, and saves the four that it makes.
#
#     sh examples/variations.sh photo.jpg made          # made-0.png to made-3.png
#
# PARA_ATTN_SERVER_URL: where the server is, if not on this machine's port 5000.
# SEND: how the picture gets there: form (the default), upload, or inline.
set -eu
url="${PARA_ATTN_SERVER_URL:-http://127.0.0.1:5000}"
photo="$1"
made="$2"

case "${SEND:-form}" in
form) # a form: the file is a part of the request
    answer=$(curl --fail-with-body -sS "$url/generate" -F "image=@$photo" -F side=128) ;;
upload) # an upload: sent once, and named by its id in as many requests as you like
    upload=$(curl --fail-with-body -sS "$url/uploads" --data-binary "@$photo" -H 'Content-Type: application/octet-stream')
    image=$(printf '%s' "$upload" | sed -n 's/.*"id": *"\([0-9a-f]*\)".*/\1/p')
    answer=$(printf '{"image": "%s", "side": 128}' "$image" |
        curl --fail-with-body -sS "$url/generate" -H 'Content-Type: application/json' -d @-) ;;
inline) # JSON: the file in base64, with or without data:image/jpeg;base64, before it
    answer=$(printf '{"image": "%s", "side": 128}' "$(base64 -w 0 "$photo")" |
        curl --fail-with-body -sS "$url/generate" -H 'Content-Type: application/json' -d @-) ;;
esac
id=$(printf '%s' "$answer" | sed -n 's/.*"request_id": *"\([0-9a-f]*\)".*/\1/p')

# The answer is held until the job ends, for at most 60 seconds: 202 is "not yet", so ask again.
while [ "$(curl -sS -o /dev/null -w '%{http_code}' "$url/request_status/$id?wait=60")" = 202 ]; do :; done

for index in 0 1 2 3; do
    curl --fail-with-body -sS "$url/outputs/$id/$index" -o "$made-$index.png"
    echo "$made-$index.png"
done
