#!/bin/sh
# /etc/vmspan/start of a test guest: runs what the host sends over the second serial port.
#
#   host to guest   ID BASE64-OF-A-SHELL-SCRIPT
#   guest to host   ID EXIT-STATUS BASE64-OF-ITS-OUTPUT
#
# One command at a time; what has to go on in the background is started with & by the command.

stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1
echo "ready"
while read -r id script; do
  echo "$script" | base64 -d >"/run/script.$id"
  sh "/run/script.$id" >"/run/output.$id" 2>&1 </dev/null
  status=$?
  printf '%s %s ' "$id" "$status"
  base64 -w 0 "/run/output.$id"
  echo
  rm -f "/run/script.$id" "/run/output.$id"
done
